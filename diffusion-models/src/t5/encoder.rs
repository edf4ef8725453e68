//! T5's encoder.

use burn::module::Module;
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap, Layout};
use diffusion_core::ops::{self, Activation, Attending, AttentionOptions};
use diffusion_core::weights::{LoadedNetwork, LoadedWeights, Loading, Projection, ProjectionConfig, TokenEmbedding};
use diffusion_core::{TextEmbedding, TextEncoder};

use super::config::T5Config;
use super::keys;
use crate::network_config::{NetworkConfig, WeightKeeping};

/// T5's encoder. Computes in f32: its activations leave the range of f16.
///
/// Reference: transformers `modeling_t5.py` at 5.23; arXiv 1910.10683, and v1.1's gated GELU, arXiv 2002.05202.
#[derive(Module, Debug)]
pub struct T5Encoder {
    token_embedding: TokenEmbedding,
    /// `[num_buckets, num_heads]`, shared by all blocks.
    relative_position_bias: TokenEmbedding,
    blocks: Vec<T5Block>,
    final_norm: RmsNorm,
    #[module(skip)]
    config: T5Config,
    /// Where its weights come from; `None` if it was not loaded.
    #[module(skip)]
    weights: Option<LoadedWeights>,
}

/// Prefix of the blocks' parameters.
const BLOCKS: &str = "blocks.";

#[derive(Module, Debug)]
struct T5Block {
    attention_norm: RmsNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    attention_output: Projection,
    feed_forward_norm: RmsNorm,
    feed_forward_gate: Projection,
    feed_forward_input: Projection,
    feed_forward_output: Projection,
    #[module(skip)]
    num_heads: usize,
}

impl T5Config {
    /// Make the encoder, without allocating; see [`T5Encoder::load`].
    pub fn init(&self, device: &Device) -> T5Encoder {
        let norm = || RmsNormConfig::new(self.hidden_size).with_epsilon(self.norm_epsilon).init(device);
        T5Encoder {
            token_embedding: TokenEmbedding::new(self.vocab_size, self.hidden_size, device),
            relative_position_bias: TokenEmbedding::new(self.num_buckets, self.num_heads, device),
            blocks: (0..self.num_layers).map(|_| T5Block::new(self, device)).collect(),
            final_norm: norm(),
            config: self.clone(),
            weights: None,
        }
    }

    /// The bucket of a relative position, `key - query`.
    fn bucket(&self, relative: i64) -> usize {
        let one_sided = self.num_buckets / 2;
        let exact = one_sided / 2;
        let side = if relative > 0 { one_sided } else { 0 };
        let distance = relative.unsigned_abs() as usize;
        if distance < exact {
            return side + distance;
        }
        let octaves = (distance as f32 / exact as f32).ln() / (self.max_distance as f64 / exact as f64).ln() as f32;
        let beyond = (octaves * (one_sided - exact) as f32) as usize;
        side + (exact + beyond).min(one_sided - 1)
    }
}

impl NetworkConfig for T5Config {
    type Network = T5Encoder;

    const KEEPING: WeightKeeping = WeightKeeping::Streamable;

    fn empty(&self, device: &Device) -> T5Encoder {
        self.init(device)
    }

    /// Names may be llama.cpp's too.
    fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = keys::with_transformers_names(checkpoint)?;
        let both = checkpoint.get(keys::SHARED_TABLE).is_some() && checkpoint.get(keys::ENCODER_TABLE).is_some();
        let once = checkpoint.filtered(|name| !(both && name == keys::ENCODER_TABLE));
        once.named("a T5 encoder").renamed(&keys::key_map())
    }

    fn layouts(&self) -> Vec<(Layout, KeyMap, &'static str)> {
        vec![(Layout::Diffusers, keys::key_map(), "")]
    }
}

impl T5Encoder {
    /// Load an encoder; names as transformers or llama.cpp has them, any prefix of an all-in-one file already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint does not fit the configuration.
    pub fn load(checkpoint: Checkpoint, config: &T5Config, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        let (empty, loading) = (config.init(loading.device), loading.computing_in_f32());
        let (loaded, weights) = LoadedWeights::load(config.rename(checkpoint)?, empty, &[BLOCKS], &loading)?;
        Ok(Self { weights: Some(weights), ..loaded })
    }

    /// The device that it computes on.
    pub fn device(&self) -> Device {
        // In memory even where blocks are not.
        self.final_norm.gamma.val().device()
    }

    fn block(&self, index: usize, x: Tensor<3>, bias: Tensor<4>) -> Result<Tensor<3>, CheckpointError> {
        let Some(weights) = self.weights.as_ref().filter(|weights| weights.is_streamed()) else {
            return Ok(self.blocks[index].forward(x, bias));
        };
        let name = |index: usize| format!("{BLOCKS}{index}.");
        weights.with_block(&name(index), &name(index + 1), self.blocks[index].clone(), |block| block.forward(x, bias))
    }

    /// `[1, num_heads, seq_len, seq_len]`, added to the scores of every block.
    fn position_bias(&self, seq_len: usize, device: &Device) -> Tensor<4> {
        let relative = |index: usize| (index % seq_len) as i64 - (index / seq_len) as i64;
        let buckets: Vec<i32> = (0..seq_len * seq_len).map(|i| self.config.bucket(relative(i)) as i32).collect();
        let buckets = Tensor::<2, Int>::from_data(TensorData::new(buckets, [seq_len, seq_len]), device);
        self.relative_position_bias.forward(buckets, FloatDType::F32).permute([2, 0, 1]).unsqueeze()
    }
}

impl LoadedNetwork for T5Encoder {
    fn weights(&self) -> Option<&LoadedWeights> {
        self.weights.as_ref()
    }

    fn weights_mut(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}

impl TextEncoder for T5Encoder {
    /// Hidden states after the final norm; no pooled embedding.
    fn encode(&self, token_ids: Tensor<2, Int>) -> Result<TextEmbedding, CheckpointError> {
        self.weights.as_ref().map_or(Ok(()), LoadedWeights::check_unchanged)?;
        let [_, seq_len] = token_ids.dims();
        let device = token_ids.device();
        let bias = self.position_bias(seq_len, &device);
        let mut x = self.token_embedding.forward(token_ids, FloatDType::F32);
        for index in 0..self.blocks.len() {
            x = self.block(index, x, bias.clone())?;
        }
        Ok(TextEmbedding { hidden_states: ops::rms_norm(x, &self.final_norm), pooled: None })
    }
}

impl T5Block {
    fn new(config: &T5Config, device: &Device) -> Self {
        let (hidden_size, attention_size) = (config.hidden_size, config.num_heads * config.head_dim);
        let projection = |from, to| ProjectionConfig::without_bias(from, to).init(device);
        let norm = || RmsNormConfig::new(hidden_size).with_epsilon(config.norm_epsilon).init(device);
        Self {
            attention_norm: norm(),
            query: projection(hidden_size, attention_size),
            key: projection(hidden_size, attention_size),
            value: projection(hidden_size, attention_size),
            attention_output: projection(attention_size, hidden_size),
            feed_forward_norm: norm(),
            feed_forward_gate: projection(hidden_size, config.inner_size),
            feed_forward_input: projection(hidden_size, config.inner_size),
            feed_forward_output: projection(config.inner_size, hidden_size),
            num_heads: config.num_heads,
        }
    }

    /// # Shapes
    /// - x and result: `[batch, seq_len, hidden_size]`; bias: `[1, num_heads, seq_len, seq_len]`
    fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let [batch, seq_len, hidden_size] = x.dims();
        let normed = ops::rms_norm(x.clone(), &self.attention_norm);
        let tokens = Attending {
            query: self.query.forward(normed.clone()),
            key: self.key.forward(normed.clone()),
            value: self.value.forward(normed),
        };
        // T5 does not scale its scores.
        let scale = Some(1.0);
        let options = AttentionOptions { scale, bias: Some(bias), products: self.query.products(), ..Default::default() };
        let [attended] = ops::attention([tokens], self.num_heads, &options);
        let x = self.attention_output.forward_onto(&x, attended, None);

        let normed = ops::rms_norm(x.clone(), &self.feed_forward_norm);
        let (gate, inner) = (self.feed_forward_gate.forward(normed.clone()), self.feed_forward_input.forward(normed));
        let inner = Activation::GeluTanh.apply_and_multiply(gate, inner);
        let x = self.feed_forward_output.forward_onto(&x, inner, None);
        assert_shape!(x, [batch, seq_len, hidden_size]);
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T5Attention._relative_position_bucket` of transformers 5.23, bidirectional, 32 buckets, distance 128.
    #[test]
    fn buckets_are_those_of_transformers() {
        let config = T5Config::xxl();
        let found: Vec<usize> = [-200, -128, -127, -64, -16, -9, -8, -7, -1, 0].map(|r| config.bucket(r)).to_vec();
        assert_eq!(found, [15, 15, 15, 14, 10, 8, 8, 7, 1, 0]);
        let found: Vec<usize> = [1, 7, 8, 11, 12, 23, 32, 90, 91, 128, 500].map(|r| config.bucket(r)).to_vec();
        assert_eq!(found, [17, 23, 24, 24, 25, 27, 28, 30, 31, 31, 31]);
    }
}
