//! Names of the weights in diffusers' layout and in the original one of latent diffusion, which SD3's and FLUX.1's
//! single files have.

use diffusion_core::checkpoint::{Checkpoint, KeyMap};

/// Which program wrote the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// diffusers: `decoder.up_blocks.0` is the coarsest level.
    Diffusers,
    /// Latent diffusion, Stability AI, Black Forest Labs: `decoder.up.0` is the finest level.
    Original,
}

/// Names are the same in encoder and decoder: (from, to).
const DIFFUSERS: &[(&str, &str)] = &[
    ("mid_block.resnets.0", "middle.first"),
    ("mid_block.resnets.1", "middle.last"),
    ("mid_block.attentions.0.group_norm", "middle.attention.norm"),
    ("mid_block.attentions.0.to_q", "middle.attention.query"),
    ("mid_block.attentions.0.to_k", "middle.attention.key"),
    ("mid_block.attentions.0.to_v", "middle.attention.value"),
    ("mid_block.attentions.0.to_out.0", "middle.attention.output"),
    // Before diffusers 0.18.
    ("mid_block.attentions.0.query", "middle.attention.query"),
    ("mid_block.attentions.0.key", "middle.attention.key"),
    ("mid_block.attentions.0.value", "middle.attention.value"),
    ("mid_block.attentions.0.proj_attn", "middle.attention.output"),
    ("conv_norm_out", "norm_out"),
];

const DIFFUSERS_LEVELS: &[(&str, &str)] = &[
    ("encoder.down_blocks.{i}.resnets.{j}.conv_shortcut", "encoder.levels.{i}.blocks.{j}.shortcut"),
    ("encoder.down_blocks.{i}.resnets.{j}", "encoder.levels.{i}.blocks.{j}"),
    ("encoder.down_blocks.{i}.downsamplers.0.conv", "encoder.levels.{i}.downsample"),
    ("decoder.up_blocks.{i}.resnets.{j}.conv_shortcut", "decoder.levels.{i}.blocks.{j}.shortcut"),
    ("decoder.up_blocks.{i}.resnets.{j}", "decoder.levels.{i}.blocks.{j}"),
    ("decoder.up_blocks.{i}.upsamplers.0.conv", "decoder.levels.{i}.upsample"),
];

const ORIGINAL: &[(&str, &str)] = &[
    ("mid.block_1", "middle.first"),
    ("mid.block_2", "middle.last"),
    ("mid.attn_1.norm", "middle.attention.norm"),
    ("mid.attn_1.q", "middle.attention.query"),
    ("mid.attn_1.k", "middle.attention.key"),
    ("mid.attn_1.v", "middle.attention.value"),
    ("mid.attn_1.proj_out", "middle.attention.output"),
];

const ORIGINAL_ENCODER_LEVELS: &[(&str, &str)] = &[
    ("encoder.down.{i}.block.{j}.nin_shortcut", "encoder.levels.{i}.blocks.{j}.shortcut"),
    ("encoder.down.{i}.block.{j}", "encoder.levels.{i}.blocks.{j}"),
    ("encoder.down.{i}.downsample.conv", "encoder.levels.{i}.downsample"),
];

/// What files that were written in training carry besides: the discriminator, and moving averages of the weights.
const OF_TRAINING: [&str; 2] = ["loss", "model_ema"];

impl Layout {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let diffusers = |name: &str| name.starts_with("decoder.up_blocks.") || name.starts_with("encoder.down_blocks.");
        if checkpoint.tensors().any(|(name, _)| diffusers(name)) { Self::Diffusers } else { Self::Original }
    }

    /// The name of the first convolution of an encoder block.
    pub(super) fn encoder_convolution(self, level: usize, block: usize) -> String {
        match self {
            Self::Diffusers => format!("encoder.down_blocks.{level}.resnets.{block}.conv1.weight"),
            Self::Original => format!("encoder.down.{level}.block.{block}.conv1.weight"),
        }
    }

    /// The map to our names, for an autoencoder of `num_levels` levels.
    pub(super) fn key_map(self, num_levels: usize) -> KeyMap {
        let map = match self {
            Self::Diffusers => in_both_halves(DIFFUSERS).rename_all(DIFFUSERS_LEVELS),
            Self::Original => {
                let map = in_both_halves(ORIGINAL).rename_all(ORIGINAL_ENCODER_LEVELS);
                (0..num_levels).fold(map, |map, level| with_original_decoder_level(map, num_levels - 1 - level, level))
            }
        };
        OF_TRAINING.into_iter().fold(map, KeyMap::ignore)
    }
}

fn in_both_halves(table: &[(&str, &str)]) -> KeyMap {
    let rename = |map: KeyMap, half: &str| {
        table.iter().fold(map, |map, (from, to)| map.rename(&format!("{half}.{from}"), &format!("{half}.{to}")))
    };
    ["encoder", "decoder"].into_iter().fold(KeyMap::new(), rename)
}

/// Decoder level `from` of the file, counted from the finest, is level `to` in the order in which they run.
fn with_original_decoder_level(map: KeyMap, from: usize, to: usize) -> KeyMap {
    let block = format!("decoder.up.{from}.block.{{j}}");
    let target = format!("decoder.levels.{to}.blocks.{{j}}");
    map.rename(&format!("{block}.nin_shortcut"), &format!("{target}.shortcut"))
        .rename(&block, &target)
        .rename(&format!("decoder.up.{from}.upsample.conv"), &format!("decoder.levels.{to}.upsample"))
}
