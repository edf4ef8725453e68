//! How many multiplications and additions the products of a case take at the least: what its floor is computed from.
//!
//! Counted are those that the result depends on, in the least that is known (no Winograd): nothing of the last block's text but
//! keys and values, and convolutions after nearest-neighbour upsampling as four of 2 x 2 on the small image. Programs that do
//! more work, as torch does, have more to do than this. Norms, activations and softmax are left out.

use diffusion_models::autoencoder_kl::AutoencoderKlConfig;
use diffusion_models::clip::ClipConfig;
use diffusion_models::flux::FluxConfig;
use diffusion_models::sd3::Sd3Config;
use diffusion_models::t5::T5Config;

use crate::sizes::{ATTENTION, CLIP_LEN, DECODED_SIZE, FLUX_TEXT_LEN, LATENT_SIZE, SD3_TEXT_LEN, T5_LEN};

/// Side of a patch of both transformers.
const PATCH: usize = 2;
const IMAGE_LEN: usize = (LATENT_SIZE / PATCH) * (LATENT_SIZE / PATCH);
/// Numbers of a patch.
const PATCH_VALUES: usize = 16 * PATCH * PATCH;
/// Width of the embedding of timesteps.
const TIMESTEP: usize = 256;

/// `rows` times a matrix of so many numbers.
fn product(rows: usize, numbers: usize) -> f64 {
    2.0 * rows as f64 * numbers as f64
}

/// Scores and their product with values.
fn attention(queries: usize, keys: usize, width: usize) -> f64 {
    2.0 * product(queries, keys * width)
}

/// The network of two layers that embeds one vector.
fn conditioning_mlp(input: usize, hidden: usize) -> f64 {
    product(1, input * hidden + hidden * hidden)
}

/// Of a step of training beside frozen weights: an evaluation, and gradients of all inputs of its products.
pub(crate) fn with_gradients(evaluation: f64) -> f64 {
    2.0 * evaluation
}

pub(crate) fn sd3(config: &Sd3Config) -> f64 {
    let hidden = config.hidden_size();
    let square = hidden * hidden;
    let joint = IMAGE_LEN + SD3_TEXT_LEN;
    let block = |index: usize| {
        let is_last = index + 1 == config.num_layers;
        let is_dual = config.dual_attention_layers.contains(&index);
        // Queries, keys, values, output and a feed-forward layer of four times the width.
        let image = product(IMAGE_LEN, 12 * square) + product(1, 6 * square);
        let text = if is_last {
            product(SD3_TEXT_LEN, 2 * square) + product(1, 2 * square)
        } else {
            product(SD3_TEXT_LEN, 12 * square) + product(1, 6 * square)
        };
        let queries = if is_last { IMAGE_LEN } else { joint };
        let second = product(IMAGE_LEN, 4 * square) + attention(IMAGE_LEN, IMAGE_LEN, hidden) + product(1, 3 * square);
        image + text + attention(queries, joint, hidden) + if is_dual { second } else { 0.0 }
    };
    let ends = product(IMAGE_LEN, 2 * PATCH_VALUES * hidden)
        + product(SD3_TEXT_LEN, config.joint_attention_dim * hidden)
        + conditioning_mlp(TIMESTEP, hidden)
        + conditioning_mlp(config.pooled_projection_dim, hidden)
        + product(1, 2 * square);
    ends + (0..config.num_layers).map(block).sum::<f64>()
}

pub(crate) fn flux(config: &FluxConfig) -> f64 {
    let hidden = config.hidden_size();
    let square = hidden * hidden;
    let joint = IMAGE_LEN + FLUX_TEXT_LEN;
    let double = product(joint, 12 * square) + attention(joint, joint, hidden) + product(1, 12 * square);
    let single = |index: usize| {
        let modulation = product(1, 3 * square);
        if index + 1 == config.num_single_layers {
            product(IMAGE_LEN, 12 * square)
                + product(FLUX_TEXT_LEN, 2 * square)
                + attention(IMAGE_LEN, joint, hidden)
                + modulation
        } else {
            product(joint, 12 * square) + attention(joint, joint, hidden) + modulation
        }
    };
    let ends = product(IMAGE_LEN, 2 * PATCH_VALUES * hidden)
        + product(FLUX_TEXT_LEN, config.joint_attention_dim * hidden)
        + 2.0 * conditioning_mlp(TIMESTEP, hidden)
        + conditioning_mlp(config.pooled_projection_dim, hidden)
        + product(1, 2 * square);
    ends + config.num_double_layers as f64 * double + (0..config.num_single_layers).map(single).sum::<f64>()
}

pub(crate) fn clip() -> f64 {
    let config = ClipConfig::big_g();
    let hidden = config.hidden_size;
    // A token sees itself and what comes before.
    let seen = attention(1, CLIP_LEN * (CLIP_LEN + 1) / 2, hidden);
    let layer = product(CLIP_LEN, 4 * hidden * hidden + 2 * hidden * config.inner_size) + seen;
    config.num_layers as f64 * layer + product(1, hidden * config.pooled_size())
}

pub(crate) fn t5(config: &T5Config) -> f64 {
    let width = config.num_heads * config.head_dim;
    let weights = config.hidden_size * (4 * width + 3 * config.inner_size);
    config.num_layers as f64 * (product(T5_LEN, weights) + attention(T5_LEN, T5_LEN, width))
}

pub(crate) fn autoencoder() -> f64 {
    let config = AutoencoderKlConfig::sd3();
    let convolution = |side: usize, [from, to]: [usize; 2], taps: usize| product(side * side, from * to * taps);
    let block = |side: usize, from: usize, to: usize| {
        let shortcut = if from == to { 0.0 } else { convolution(side, [from, to], 1) };
        convolution(side, [from, to], 9) + convolution(side, [to, to], 9) + shortcut
    };
    let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
    let (coarsest, finest, pixels) = (channels[0], channels[channels.len() - 1], DECODED_SIZE * DECODED_SIZE);
    let mut total = convolution(DECODED_SIZE, [config.latent_channels, coarsest], 9)
        + 2.0 * block(DECODED_SIZE, coarsest, coarsest)
        + product(pixels, 4 * coarsest * coarsest)
        + attention(pixels, pixels, coarsest);
    let (mut side, mut before) = (DECODED_SIZE, coarsest);
    for (index, &channels_here) in channels.iter().enumerate() {
        total += block(side, before, channels_here);
        total += config.layers_per_block as f64 * block(side, channels_here, channels_here);
        if index + 1 < channels.len() {
            // Four results for each place of the small image, each of 2 x 2 places.
            total += 4.0 * convolution(side, [channels_here, channels_here], 4);
            side *= 2;
        }
        before = channels_here;
    }
    total + convolution(side, [finest, 3], 9)
}

pub(crate) fn attention_alone() -> f64 {
    let [heads, len, head_dim] = ATTENTION;
    attention(len, len, heads * head_dim)
}
