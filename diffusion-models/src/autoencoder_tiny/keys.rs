//! Names of the weights: numbers of an `nn.Sequential`.
//!
//! The original files hold one half each and no prefix; diffusers has both, under `encoder.layers.` and `decoder.layers.`,
//! and does not count the decoder's clamp; Comfy's files have `taesd_encoder.` and `taesd_decoder.`.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap};

use super::config::{BLOCKS_PER_LEVEL, NUM_LEVELS};

/// Levels of an `nn.Sequential` are this far apart: three blocks, a convolution, and in the decoder an enlargement.
const ENCODER_STRIDE: usize = BLOCKS_PER_LEVEL + 1;
const DECODER_STRIDE: usize = BLOCKS_PER_LEVEL + 2;

/// Renames the numbers after `from` to names after `to`.
struct Names<'a> {
    map: KeyMap,
    from: &'a str,
    to: &'a str,
}

impl Names<'_> {
    fn layer(self, number: usize, name: &str) -> Self {
        let Self { map, from, to } = self;
        Self { map: map.rename(&format!("{from}{number}"), &format!("{to}{name}")), from, to }
    }

    fn block(self, number: usize, name: &str) -> Self {
        let Self { map, from, to } = self;
        let convolution = |map: KeyMap, (place, convolution): (usize, &str)| {
            map.rename(&format!("{from}{number}.conv.{place}"), &format!("{to}{name}.{convolution}"))
        };
        Self { map: [(0, "conv1"), (2, "conv2"), (4, "conv3")].into_iter().fold(map, convolution), from, to }
    }

    fn blocks(self, first: usize, level: usize) -> Self {
        (0..BLOCKS_PER_LEVEL).fold(self, |names, j| names.block(first + j, &format!("levels.{level}.blocks.{j}")))
    }

    fn encoder(self) -> KeyMap {
        let level = |names: Self, level| {
            let first = 2 + ENCODER_STRIDE * level;
            names.layer(first, &format!("levels.{level}.downsample")).blocks(first + 1, level)
        };
        let names = (0..NUM_LEVELS).fold(self.layer(0, "conv_in").block(1, "first"), level);
        names.layer(2 + ENCODER_STRIDE * NUM_LEVELS, "conv_out").map
    }

    /// `conv_in` is the number of the first convolution. The activation after it, and enlargements, are counted too.
    fn decoder(self, conv_in: usize) -> KeyMap {
        let level = |names: Self, level| {
            let first = conv_in + 2 + DECODER_STRIDE * level;
            names.blocks(first, level).layer(first + BLOCKS_PER_LEVEL + 1, &format!("levels.{level}.upsample"))
        };
        let last = conv_in + 2 + DECODER_STRIDE * NUM_LEVELS;
        (0..NUM_LEVELS).fold(self.layer(conv_in, "conv_in"), level).block(last, "last").layer(last + 1, "conv_out").map
    }
}

const DIFFUSERS: [&str; 2] = ["encoder.layers.", "decoder.layers."];
const COMFY: [&str; 2] = ["taesd_encoder.", "taesd_decoder."];
const MODEL: &str = "the tiny autoencoder";

/// Number of the decoder's first convolution: the original counts the clamp before it.
const ORIGINAL_CONV_IN: usize = 1;
const DIFFUSERS_CONV_IN: usize = 0;

/// The weights of both halves, renamed.
pub(super) fn both_halves(checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    let ([encoder, decoder], conv_in) = layout(&checkpoint);
    let map = Names { map: KeyMap::new(), from: encoder, to: "encoder." }.encoder();
    checkpoint.named(MODEL).renamed(&Names { map, from: decoder, to: "decoder." }.decoder(conv_in))
}

/// The encoder's weights, renamed.
pub(super) fn encoder(checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    let ([from, other], _) = layout(&checkpoint);
    without(checkpoint, other).renamed(&Names { map: KeyMap::new(), from, to: "" }.encoder())
}

/// The decoder's weights, renamed.
pub(super) fn decoder(checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    let ([other, from], conv_in) = layout(&checkpoint);
    without(checkpoint, other).renamed(&Names { map: KeyMap::new(), from, to: "" }.decoder(conv_in))
}

/// Prefixes of encoder and decoder, and the number of the decoder's first convolution.
fn layout(checkpoint: &Checkpoint) -> ([&'static str; 2], usize) {
    let has = |prefixes: [&str; 2]| checkpoint.tensors().any(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    if has(DIFFUSERS) {
        (DIFFUSERS, DIFFUSERS_CONV_IN)
    } else if has(COMFY) {
        (COMFY, ORIGINAL_CONV_IN)
    } else {
        ([""; 2], ORIGINAL_CONV_IN)
    }
}

/// Without the other half, whose names start with `prefix`.
fn without(checkpoint: Checkpoint, prefix: &str) -> Checkpoint {
    checkpoint.filtered(|name| prefix.is_empty() || !name.starts_with(prefix)).named(MODEL)
}
