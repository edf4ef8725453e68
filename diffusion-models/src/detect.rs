//! What a file holds, from the names of its tensors.

use std::fmt::{self, Display};

use diffusion_core::checkpoint::Checkpoint;

use crate::family_profile::FamilyProfile;
use crate::foreign_models::{ForeignModel, RELATIVES, STRANGERS};

/// What a checkpoint holds, as far as its names tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// The denoising network of a family that is drawn with, by its name in sentences.
    Denoiser(&'static str),
    /// A model that is not drawn with, or a part of one, by its name.
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

/// Parts of names that only LoRAs have. These go before all others, whose names LoRAs use too.
const LORA_SIGNS: &[&str] =
    &["lora_A.", "lora_B.", "lora_up.", "lora_down.", "lora.up.", "lora.down.", ".processor.", "hada_w1_a", "lokr_w"];

/// Parts of names of which each tells a component that is drawn with, after any prefix of an all-in-one file.
const COMPONENT_SIGNS: &[(FileKind, &[&str])] = &[
    (FileKind::Clip, &["encoder.layers.0.self_attn.", "transformer.resblocks.0.attn.in_proj_weight"]),
    (FileKind::T5, &["encoder.block.0.layer.0.SelfAttention.", "enc.blk.0."]),
    (FileKind::AutoencoderKl, &["decoder.mid.block_1.", "decoder.mid_block.resnets.0."]),
    (FileKind::AutoencoderTiny, &["decoder.layers.", "3.conv.0.weight"]),
];

impl FileKind {
    /// The kind of a checkpoint, given the families that are drawn with; for an all-in-one file, of its denoising network.
    pub(crate) fn of(checkpoint: &Checkpoint, families: &[&FamilyProfile]) -> Self {
        let has = |sign: &&str| checkpoint.tensors().any(|(name, _)| name.contains(*sign));
        let any = |signs: &[&str]| signs.iter().any(&has);
        if any(LORA_SIGNS) {
            return Self::Lora;
        }
        let foreign =
            |models: &[ForeignModel]| models.iter().find(|(_, signs)| any(signs)).map(|(name, _)| Self::OtherModel(name));
        let family = || {
            let found = families.iter().find(|family| any(family.signs) && !any(family.counter_signs));
            found.map(|family| Self::Denoiser(family.transformer))
        };
        let component = || COMPONENT_SIGNS.iter().find(|(_, signs)| any(signs)).map(|(kind, _)| *kind);
        foreign(RELATIVES).or_else(family).or_else(|| foreign(STRANGERS)).or_else(component).unwrap_or(Self::Unknown)
    }
}

impl Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denoiser(name) => name,
            Self::OtherModel(name) => return write!(f, "{name}, which is not drawn with here"),
            Self::Clip => "a CLIP text encoder",
            Self::T5 => "a T5 encoder",
            Self::AutoencoderKl => "an autoencoder (VAE)",
            Self::AutoencoderTiny => "a tiny autoencoder (TAESD)",
            Self::Lora => "a LoRA",
            Self::Unknown => "no model that is known here",
        })
    }
}
