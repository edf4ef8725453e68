//! CLIP's text encoder.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Int, Tensor, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap, Layout};
use diffusion_core::ops::{self, Activation, Attending, AttentionOptions};
use diffusion_core::weights::{
    LoadedNetwork, LoadedWeights, Loading, Projection, ProjectionConfig, TokenEmbedding, uninitialized,
};
use diffusion_core::{TextEmbedding, TextEncoder};

use super::config::{ClipActivation, ClipConfig, EndOfText};
use super::keys;
use crate::network_config::{NetworkConfig, WeightKeeping};

/// CLIP's text encoder.
///
/// As a [`TextEncoder`] it gives what Stable Diffusion 3 and SDXL condition on: the hidden states after the layer before
/// the last, without the final norm, and the pooled embedding of the end token, projected where the configuration says so.
/// Computes in f32.
///
/// Reference: transformers `modeling_clip.py#L526` at 5.23; arXiv 2103.00020.
#[derive(Module, Debug)]
pub struct ClipTextEncoder {
    token_embedding: TokenEmbedding,
    position_embedding: Param<Tensor<2>>,
    layers: Vec<ClipLayer>,
    final_norm: LayerNorm,
    projection: Option<Projection>,
    #[module(skip)]
    config: ClipConfig,
    /// Where its weights come from; `None` if it was not loaded.
    #[module(skip)]
    weights: Option<LoadedWeights>,
}

#[derive(Module, Debug)]
struct ClipLayer {
    attention_norm: LayerNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    attention_output: Projection,
    feed_forward_norm: LayerNorm,
    feed_forward_input: Projection,
    feed_forward_output: Projection,
    #[module(skip)]
    num_heads: usize,
    #[module(skip)]
    activation: ClipActivation,
    #[module(skip)]
    norm_epsilon: f64,
}

impl ClipConfig {
    /// Make the encoder, without allocating; see [`ClipTextEncoder::load`].
    pub fn init(&self, device: &Device) -> ClipTextEncoder {
        let square = || ProjectionConfig::new(self.hidden_size, self.hidden_size).init(device);
        let norm = || LayerNormConfig::new(self.hidden_size).with_epsilon(self.norm_epsilon).init(device);
        let layer = |_| ClipLayer {
            attention_norm: norm(),
            query: square(),
            key: square(),
            value: square(),
            attention_output: square(),
            feed_forward_norm: norm(),
            feed_forward_input: ProjectionConfig::new(self.hidden_size, self.inner_size).init(device),
            feed_forward_output: ProjectionConfig::new(self.inner_size, self.hidden_size).init(device),
            num_heads: self.num_heads,
            activation: self.activation,
            norm_epsilon: self.norm_epsilon,
        };
        let projection = |size| ProjectionConfig::without_bias(self.hidden_size, size).init(device);
        ClipTextEncoder {
            token_embedding: TokenEmbedding::new(self.vocab_size, self.hidden_size, device),
            position_embedding: uninitialized([self.max_positions, self.hidden_size], device),
            layers: (0..self.num_layers).map(layer).collect(),
            final_norm: norm(),
            projection: self.projection_size.map(projection),
            config: self.clone(),
            weights: None,
        }
    }
}

impl NetworkConfig for ClipConfig {
    type Network = ClipTextEncoder;

    const KEEPING: WeightKeeping = WeightKeeping::Whole;

    fn empty(&self, device: &Device) -> ClipTextEncoder {
        self.init(device)
    }

    fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let name = if self.projection_size.is_some() { "a CLIP text encoder with projection" } else { "a CLIP text encoder" };
        keys::renamed(checkpoint.named(name), self.hidden_size, self.projection_size.is_some())
    }

    /// Adapters have the names of transformers, whatever their model's file has.
    fn layouts(&self) -> Vec<(Layout, KeyMap, &'static str)> {
        let map = keys::key_map(self.projection_size.is_some());
        vec![(Layout::Diffusers, map.clone(), keys::PREFIX), (Layout::Diffusers, map, "")]
    }
}

impl ClipTextEncoder {
    /// Load an encoder; names as transformers or OpenAI have them, any prefix of an all-in-one file already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint does not fit the configuration.
    pub fn load(checkpoint: Checkpoint, config: &ClipConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        let (empty, loading) = (config.init(loading.device), loading.computing_in_f32());
        let (loaded, weights) = LoadedWeights::load(config.rename(checkpoint)?, empty, &[], &loading)?;
        Ok(Self { weights: Some(weights), ..loaded })
    }

    /// The device that it computes on.
    pub fn device(&self) -> Device {
        self.position_embedding.val().device()
    }

    /// Where the text of each row ends.
    fn end_positions(&self, token_ids: &Tensor<2, Int>) -> Vec<usize> {
        let [_, seq_len] = token_ids.dims();
        let ids: Vec<i64> = token_ids.to_data().iter::<i64>().collect();
        let first = |row: &[i64], wanted: i64| row.iter().position(|&id| id == wanted);
        let end_of = |row: &[i64]| match self.config.end_of_text {
            EndOfText::LargestId => row.iter().max().and_then(|&largest| first(row, largest)),
            EndOfText::Token(token) => first(row, i64::from(token)),
        };
        ids.chunks(seq_len).map(|row| end_of(row).unwrap_or(0)).collect()
    }

    fn pool(&self, last: Tensor<3>, token_ids: &Tensor<2, Int>) -> Tensor<2> {
        let normed = ops::layer_norm(last, &self.final_norm, self.config.norm_epsilon);
        let ends = self.end_positions(token_ids);
        let rows = ends.into_iter().enumerate().map(|(row, end)| normed.clone().narrow(0, row, 1).narrow(1, end, 1));
        let pooled = Tensor::cat(rows.collect(), 0).squeeze_dim::<2>(1);
        match &self.projection {
            Some(projection) => projection.forward(pooled),
            None => pooled,
        }
    }
}

impl LoadedNetwork for ClipTextEncoder {
    fn weights(&self) -> Option<&LoadedWeights> {
        self.weights.as_ref()
    }

    fn weights_mut(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}

impl TextEncoder for ClipTextEncoder {
    /// # Panics
    /// If there are more tokens than positions.
    fn encode(&self, token_ids: Tensor<2, Int>) -> Result<TextEmbedding, CheckpointError> {
        self.weights.as_ref().map_or(Ok(()), LoadedWeights::check_unchanged)?;
        let [_, seq_len] = token_ids.dims();
        assert!(seq_len <= self.config.max_positions, "{seq_len} tokens for {} positions", self.config.max_positions);
        let compute = burn::tensor::FloatDType::F32;
        let positions = ops::cast(self.position_embedding.val().narrow(0, 0, seq_len), compute);
        let mut x = self.token_embedding.forward(token_ids.clone(), compute) + positions.unsqueeze();
        let mut hidden_states = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if index + 2 == self.layers.len() {
                hidden_states = x.clone();
            }
        }
        Ok(TextEmbedding { hidden_states, pooled: Some(self.pool(x, &token_ids)) })
    }
}

impl ClipLayer {
    /// # Shapes
    /// - x and result: `[batch, seq_len, hidden_size]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq_len, hidden_size] = x.dims();
        let normed = ops::layer_norm(x.clone(), &self.attention_norm, self.norm_epsilon);
        let tokens = Attending {
            query: self.query.forward(normed.clone()),
            key: self.key.forward(normed.clone()),
            value: self.value.forward(normed),
        };
        let options = AttentionOptions { causal: true, products: self.query.products(), ..Default::default() };
        let [attended] = ops::attention([tokens], self.num_heads, &options);
        let x = self.attention_output.forward_onto(&x, attended, None);

        let activation = match self.activation {
            ClipActivation::QuickGelu => Activation::GeluQuick,
            ClipActivation::Gelu => Activation::GeluErf,
        };
        let normed = ops::layer_norm(x.clone(), &self.feed_forward_norm, self.norm_epsilon);
        let inner = self.feed_forward_input.forward_activated(normed, activation);
        let x = self.feed_forward_output.forward_onto(&x, inner, None);
        assert_shape!(x, [batch, seq_len, hidden_size]);
        x
    }
}
