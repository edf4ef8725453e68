//! Which model a file holds, from the names of its tensors.

use std::fmt::{self, Display};

use diffusion_core::checkpoint::Checkpoint;

/// What a checkpoint holds, as far as its names tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// The transformer of Stable Diffusion 3 or 3.5.
    Sd3Transformer,
    /// The transformer of FLUX.1.
    FluxTransformer,
    /// The network of Stable Diffusion 1, 2 or XL.
    StableDiffusionUnet,
    /// A CLIP text encoder.
    Clip,
    /// A T5 encoder.
    T5,
    /// A variational autoencoder with KL regularisation.
    AutoencoderKl,
    /// A tiny autoencoder, TAESD and kin.
    AutoencoderTiny,
    /// A LoRA.
    Lora,
    /// None of these.
    Unknown,
}

/// Parts of names that only one kind of model has, after any prefix of an all-in-one file.
const SIGNS: [(ModelKind, &[&str]); 8] = [
    (
        ModelKind::Lora,
        &["lora_A.", "lora_B.", "lora_up.", "lora_down.", "lora.up.", "lora.down.", ".processor.", "hada_w1_a", "lokr_w"],
    ),
    (ModelKind::Sd3Transformer, &["joint_blocks.0.", "transformer_blocks.0.attn.add_q_proj.weight"]),
    (ModelKind::FluxTransformer, &["double_blocks.0.", "single_transformer_blocks.0."]),
    (ModelKind::StableDiffusionUnet, &["input_blocks.0.", "down_blocks.0.resnets.0.time_emb_proj."]),
    (ModelKind::Clip, &["encoder.layers.0.self_attn."]),
    (ModelKind::T5, &["encoder.block.0.layer.0.SelfAttention."]),
    (ModelKind::AutoencoderKl, &["decoder.mid.block_1.", "decoder.mid_block.resnets.0."]),
    (ModelKind::AutoencoderTiny, &["decoder.layers.", "3.conv.0.weight"]),
];

impl ModelKind {
    /// The kind of a checkpoint; for an all-in-one file, of its denoising network.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let has = |sign: &str| checkpoint.tensors().any(|(name, _)| name.contains(sign));
        let is_flux = has("single_transformer_blocks.0.");
        let found = SIGNS.iter().find(|(kind, signs)| {
            // diffusers' names of double blocks are the same in both families.
            !(is_flux && *kind == Self::Sd3Transformer) && signs.iter().any(|sign| has(sign))
        });
        found.map_or(Self::Unknown, |(kind, _)| *kind)
    }
}

impl Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sd3Transformer => "a Stable Diffusion 3 transformer",
            Self::FluxTransformer => "a FLUX.1 transformer",
            Self::StableDiffusionUnet => "a network of Stable Diffusion 1, 2 or XL",
            Self::Clip => "a CLIP text encoder",
            Self::T5 => "a T5 encoder",
            Self::AutoencoderKl => "an autoencoder (VAE)",
            Self::AutoencoderTiny => "a tiny autoencoder (TAESD)",
            Self::Lora => "a LoRA",
            Self::Unknown => "no model that is known here",
        })
    }
}
