//! What a file holds, from the names of its tensors.

use std::fmt::{self, Display};

use diffusion_core::checkpoint::Checkpoint;

use crate::family_profile::FamilyProfile;

/// What a checkpoint holds, as far as its names tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// The denoising network of a family that is drawn with, by its name in sentences.
    Denoiser(&'static str),
    /// The network of a model that is not drawn with, by its name.
    OtherModel(&'static str),
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

/// Parts of names that only one kind of file has, after any prefix of an all-in-one file. These go before the families',
/// whose names relatives and adapters use too.
const SIGNS_BEFORE: &[(FileKind, &[&str])] = &[
    (
        FileKind::Lora,
        &["lora_A.", "lora_B.", "lora_up.", "lora_down.", "lora.up.", "lora.down.", ".processor.", "hada_w1_a", "lokr_w"],
    ),
    (FileKind::OtherModel("FLUX.2"), &["double_stream_modulation_img.", "single_stream_modulation."]),
    (FileKind::OtherModel("Chroma"), &["distilled_guidance_layer."]),
];

/// As [`SIGNS_BEFORE`], for what shares no names with a family.
const SIGNS_AFTER: &[(FileKind, &[&str])] = &[
    (
        FileKind::OtherModel("a network of Stable Diffusion 1, 2 or XL"),
        &["input_blocks.0.", "down_blocks.0.resnets.0.time_emb_proj."],
    ),
    (FileKind::Clip, &["encoder.layers.0.self_attn.", "transformer.resblocks.0.attn.in_proj_weight"]),
    (FileKind::T5, &["encoder.block.0.layer.0.SelfAttention.", "enc.blk.0."]),
    (FileKind::AutoencoderKl, &["decoder.mid.block_1.", "decoder.mid_block.resnets.0."]),
    (FileKind::AutoencoderTiny, &["decoder.layers.", "3.conv.0.weight"]),
];

impl FileKind {
    /// The kind of a checkpoint, given the families that are drawn with; for an all-in-one file, of its denoising network.
    pub(crate) fn of(checkpoint: &Checkpoint, families: &[&FamilyProfile]) -> Self {
        let has = |sign: &&str| checkpoint.tensors().any(|(name, _)| name.contains(*sign));
        let known = |table: &[(Self, &[&str])]| table.iter().find(|(_, signs)| signs.iter().any(&has)).map(|(kind, _)| *kind);
        let family = || {
            let found = families.iter().find(|family| family.signs.iter().any(&has) && !family.counter_signs.iter().any(&has));
            found.map(|family| Self::Denoiser(family.transformer))
        };
        known(SIGNS_BEFORE).or_else(family).or_else(|| known(SIGNS_AFTER)).unwrap_or(Self::Unknown)
    }
}

impl Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denoiser(name) | Self::OtherModel(name) => name,
            Self::Clip => "a CLIP text encoder",
            Self::T5 => "a T5 encoder",
            Self::AutoencoderKl => "an autoencoder (VAE)",
            Self::AutoencoderTiny => "a tiny autoencoder (TAESD)",
            Self::Lora => "a LoRA",
            Self::Unknown => "no model that is known here",
        })
    }
}
