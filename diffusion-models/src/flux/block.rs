//! Double blocks, which keep image and text apart but for attention, and single blocks, which do not.

use burn::module::Module;
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{DType, Device, Tensor, assert_shape};
use diffusion_core::ops::{self, Activation, Attending, AttentionOptions, HeadNorm, Rotations};
use diffusion_core::weights::{Projection, ProjectionConfig};

use super::config::FluxConfig;
use crate::layers::{FeedForward, Modulation, modulations};

/// Epsilon of the norms of queries and keys.
const EPSILON: f64 = 1e-6;
/// The largest number of half precision, where activations can grow beyond it.
const F16_MAX: f32 = 65504.0;

/// A block with weights of their own for image and text tokens.
///
/// Reference: black-forest-labs/flux `layers.py#L129-L191` at 802fb47.
#[derive(Module, Debug)]
pub(super) struct DoubleBlock {
    image: Stream,
    text: Stream,
}

/// The weights of one kind of token in a double block.
#[derive(Module, Debug)]
struct Stream {
    modulation: Projection,
    query: Projection,
    key: Projection,
    value: Projection,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    attention_output: Projection,
    feed_forward: FeedForward,
    #[module(skip)]
    num_heads: usize,
}

/// A block with the same weights for image and text tokens, attention and feed-forward layer side by side.
///
/// Reference: black-forest-labs/flux `layers.py#L194-L239` at 802fb47.
#[derive(Module, Debug)]
pub(super) struct SingleBlock {
    modulation: Projection,
    query: Projection,
    key: Projection,
    value: Projection,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    feed_forward_input: Projection,
    /// From attended values and activated feed-forward numbers together.
    output: Projection,
    #[module(skip)]
    num_heads: usize,
}

impl DoubleBlock {
    pub(super) fn new(config: &FluxConfig, device: &Device) -> Self {
        Self { image: Stream::new(config, device), text: Stream::new(config, device) }
    }

    /// The layers that make modulations of the conditioning.
    pub(super) fn modulation_layers(&self) -> [(&'static str, &Projection); 2] {
        [("image.modulation", &self.image.modulation), ("text.modulation", &self.text.modulation)]
    }

    /// # Shapes
    /// - image: `[batch, image_len, hidden_size]`, text: `[batch, text_len, hidden_size]`
    /// - modulations: of image and text, `[batch, 6 * hidden_size]`; rotations: of `text_len + image_len` tokens, text first
    pub(super) fn attend(
        &self,
        image: Tensor<3>,
        text: Tensor<3>,
        [of_image, of_text]: [&Tensor<2>; 2],
        rotations: &Rotations,
    ) -> (Tensor<3>, Tensor<3>) {
        let [batch, image_len, hidden_size] = image.dims();
        let [_, text_len, _] = text.dims();
        assert_shape!(text, [batch, text_len, hidden_size]);
        assert_shape!(of_image, [batch, _]);
        assert_shape!(of_text, [batch, _]);
        let [image_attention, image_feed_forward] = of_halves(of_image);
        let [text_attention, text_feed_forward] = of_halves(of_text);
        let of_text = self.text.project(text_attention.apply(text.clone()), &rotations.of_tokens(0..text_len));
        let image_tokens = text_len..text_len + image_len;
        let of_image = self.image.project(image_attention.apply(image.clone()), &rotations.of_tokens(image_tokens));
        let options = AttentionOptions { products: self.image.query.products(), ..Default::default() };
        let [text_attended, image_attended] = ops::attention([of_text, of_image], self.image.num_heads, &options);
        let image = self.image.finish(image, image_attended, &image_attention, &image_feed_forward);
        let text = self.text.finish(text, text_attended, &text_attention, &text_feed_forward);
        (image, within_half_precision(text))
    }
}

/// Modulations of attention and feed-forward layer.
fn of_halves(all: &Tensor<2>) -> [Modulation; 2] {
    let [a, b, c, d, e, f] = modulations(all);
    [Modulation::new([a, b, c]), Modulation::new([d, e, f])]
}

impl Stream {
    fn new(config: &FluxConfig, device: &Device) -> Self {
        let hidden_size = config.hidden_size();
        let square = || ProjectionConfig::new(hidden_size, hidden_size).init(device);
        let norm = || RmsNormConfig::new(config.head_dim).with_epsilon(EPSILON).init(device);
        Self {
            modulation: ProjectionConfig::new(hidden_size, 6 * hidden_size).init(device),
            query: square(),
            key: square(),
            value: square(),
            query_norm: norm(),
            key_norm: norm(),
            attention_output: square(),
            feed_forward: FeedForward::new(hidden_size, config.inner_size(), device),
            num_heads: config.num_heads,
        }
    }

    fn project(&self, x: Tensor<3>, rotations: &Rotations) -> Attending {
        let turned = |norm| HeadNorm { norm, rotations: Some(rotations) };
        Attending {
            query: self.query.forward_heads(x.clone(), turned(&self.query_norm)),
            key: self.key.forward_heads(x.clone(), turned(&self.key_norm)),
            value: self.value.forward(x),
        }
    }

    fn finish(&self, x: Tensor<3>, attended: Tensor<3>, attention: &Modulation, feed_forward: &Modulation) -> Tensor<3> {
        let x = self.attention_output.forward_onto(&x, attended, Some(&attention.gate));
        self.feed_forward.forward_onto(&x, feed_forward.apply(x.clone()), &feed_forward.gate)
    }
}

impl SingleBlock {
    pub(super) fn new(config: &FluxConfig, device: &Device) -> Self {
        let (hidden_size, inner_size) = (config.hidden_size(), config.inner_size());
        let square = || ProjectionConfig::new(hidden_size, hidden_size).init(device);
        let norm = || RmsNormConfig::new(config.head_dim).with_epsilon(EPSILON).init(device);
        Self {
            modulation: ProjectionConfig::new(hidden_size, 3 * hidden_size).init(device),
            query: square(),
            key: square(),
            value: square(),
            query_norm: norm(),
            key_norm: norm(),
            feed_forward_input: ProjectionConfig::new(hidden_size, inner_size).init(device),
            output: ProjectionConfig::new(hidden_size + inner_size, hidden_size).init(device),
            num_heads: config.num_heads,
        }
    }

    /// The layer that makes modulations of the conditioning.
    pub(super) fn modulation_layers(&self) -> [(&'static str, &Projection); 1] {
        [("modulation", &self.modulation)]
    }

    /// # Shapes
    /// - x and result: `[batch, text_len + image_len, hidden_size]`, text first
    /// - all: modulations, `[batch, 3 * hidden_size]`
    pub(super) fn attend(&self, x: Tensor<3>, all: &Tensor<2>, rotations: &Rotations) -> Tensor<3> {
        let [batch, _, _] = x.dims();
        assert_shape!(all, [batch, _]);
        let modulation = Modulation::new(modulations(all));
        let modulated = modulation.apply(x.clone());
        let turned = |norm| HeadNorm { norm, rotations: Some(rotations) };
        let tokens = Attending {
            query: self.query.forward_heads(modulated.clone(), turned(&self.query_norm)),
            key: self.key.forward_heads(modulated.clone(), turned(&self.key_norm)),
            value: self.value.forward(modulated.clone()),
        };
        let options = AttentionOptions { products: self.query.products(), ..Default::default() };
        let [attended] = ops::attention([tokens], self.num_heads, &options);
        let inner = self.feed_forward_input.forward_activated(modulated, Activation::GeluTanh);
        let joined = ops::join_features(attended, inner);
        within_half_precision(self.output.forward_onto(&x, joined, Some(&modulation.gate)))
    }
}

/// In half precision, numbers that grew beyond it become the largest there is, as in the reference.
///
/// Reference: diffusers `transformer_flux.py#L408` and `#L494` at 58eb52c.
fn within_half_precision(x: Tensor<3>) -> Tensor<3> {
    if x.dtype() == DType::F16 { x.clamp(-F16_MAX, F16_MAX) } else { x }
}
