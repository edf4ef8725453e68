//! The joint block: image and text tokens each with weights of their own, attending to one another.

use burn::module::Module;
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor, assert_shape};
use diffusion_core::ops::{self, Attending, AttentionOptions, HeadNorm};
use diffusion_core::weights::{Projection, ProjectionConfig};

use super::config::{QkNorm, Sd3Config};
use crate::layers::{FeedForward, Modulation, modulated_norm, modulations};

/// A block of MMDiT, or of MMDiT-X where the image stream has a second attention of its own.
///
/// Reference: Stability-AI/sd3.5 `mmditx.py#L485-L613`; arXiv 2403.03206, figure 2.
#[derive(Module, Debug)]
pub(super) struct JointBlock {
    image: Stream,
    text: Stream,
}

/// The weights of one kind of token in a block.
#[derive(Module, Debug)]
struct Stream {
    modulation: Projection,
    attention: StreamAttention,
    second_attention: Option<StreamAttention>,
    feed_forward: Option<FeedForward>,
    #[module(skip)]
    kind: StreamKind,
}

/// Queries, keys and values of one kind of token, and what becomes of the attended values.
#[derive(Module, Debug)]
struct StreamAttention {
    query: Projection,
    key: Projection,
    value: Projection,
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    output: Option<Projection>,
    #[module(skip)]
    num_heads: usize,
}

/// What a stream takes part in besides giving keys and values to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamKind {
    /// One attention, and a feed-forward layer.
    Whole,
    /// Besides, a second attention over its own tokens.
    Dual,
    /// Only queries, keys and values: the text stream of the last block, whose result nobody reads.
    AttendedOnly,
}

impl JointBlock {
    /// The image's feed-forward layer of the first block is exact whatever the precision: most of what rounding costs an image came
    /// from it, since every other block works on what it gives.
    pub(super) fn new(config: &Sd3Config, index: usize, device: &Device) -> Self {
        /// In networks of fewer blocks it would take too large a part of the time. All released ones have more.
        const FEWEST_BLOCKS: usize = 8;
        let dual = config.dual_attention_layers.contains(&index);
        let last = index + 1 == config.num_layers;
        let mut image = Stream::new(config, if dual { StreamKind::Dual } else { StreamKind::Whole }, device);
        if index == 0 && config.num_layers >= FEWEST_BLOCKS {
            image.feed_forward = image.feed_forward.map(FeedForward::exact);
        }
        Self { image, text: Stream::new(config, if last { StreamKind::AttendedOnly } else { StreamKind::Whole }, device) }
    }

    /// The layers that make modulations of the conditioning.
    pub(super) fn modulation_layers(&self) -> [(&'static str, &Projection); 2] {
        [("image.modulation", &self.image.modulation), ("text.modulation", &self.text.modulation)]
    }

    /// # Shapes
    /// - image: `[batch, image_len, hidden_size]`, text: `[batch, text_len, hidden_size]`
    /// - modulations: of image and text, `[batch, output_size]` of their layers
    pub(super) fn attend(
        &self,
        image: Tensor<3>,
        text: Tensor<3>,
        [of_image, of_text]: [&Tensor<2>; 2],
    ) -> (Tensor<3>, Tensor<3>) {
        let [batch, _, hidden_size] = image.dims();
        assert_shape!(text, [batch, _, hidden_size]);
        assert_shape!(of_image, [batch, _]);
        assert_shape!(of_text, [batch, _]);
        let (image_input, image_modulations) = self.image.begin(image.clone(), of_image);
        let (text_input, text_modulations) = self.text.begin(text.clone(), of_text);

        let segments = [self.text.attention.project(text_input), self.image.attention.project(image_input)];
        let [text_attended, image_attended] = self.image.attention.attend(segments);

        let text = self.text.finish(text, text_attended, text_modulations);
        let image = self.image.finish(image, image_attended, image_modulations);
        (image, text)
    }
}

/// What the conditioning does in one stream of a block.
#[expect(clippy::large_enum_variant, reason = "there are two at a time")]
enum StreamModulations {
    AttendedOnly,
    Whole {
        attention: Modulation,
        feed_forward: Modulation,
    },
    Dual {
        attention: Modulation,
        feed_forward: Modulation,
        second_attention: Modulation,
        /// The modulated input of the second attention.
        second_input: Tensor<3>,
    },
}

impl Stream {
    fn new(config: &Sd3Config, kind: StreamKind, device: &Device) -> Self {
        let hidden_size = config.hidden_size();
        let num_modulations = match kind {
            StreamKind::AttendedOnly => 2,
            StreamKind::Whole => 6,
            StreamKind::Dual => 9,
        };
        let whole = kind != StreamKind::AttendedOnly;
        Self {
            modulation: ProjectionConfig::new(hidden_size, num_modulations * hidden_size).init(device),
            attention: StreamAttention::new(config, whole, device),
            second_attention: (kind == StreamKind::Dual).then(|| StreamAttention::new(config, true, device)),
            feed_forward: whole.then(|| FeedForward::new(hidden_size, 4 * hidden_size, device)),
            kind,
        }
    }

    /// The modulated input of the joint attention, and the modulations of the rest.
    fn begin(&self, x: Tensor<3>, all: &Tensor<2>) -> (Tensor<3>, StreamModulations) {
        match self.kind {
            StreamKind::AttendedOnly => {
                let [shift, scale] = modulations(all);
                (modulated_norm(x, &shift, &scale), StreamModulations::AttendedOnly)
            }
            StreamKind::Whole => {
                let [a, b, c, d, e, f] = modulations(all);
                let (attention, feed_forward) = (Modulation::new([a, b, c]), Modulation::new([d, e, f]));
                (attention.apply(x), StreamModulations::Whole { attention, feed_forward })
            }
            StreamKind::Dual => {
                let [a, b, c, d, e, f, g, h, i] = modulations(all);
                let (attention, feed_forward) = (Modulation::new([a, b, c]), Modulation::new([d, e, f]));
                let second_attention = Modulation::new([g, h, i]);
                let (input, second_input) = (attention.apply(x.clone()), second_attention.apply(x));
                (input, StreamModulations::Dual { attention, feed_forward, second_attention, second_input })
            }
        }
    }

    /// The stream after the block, from what its tokens attended to.
    fn finish(&self, x: Tensor<3>, attended: Tensor<3>, modulations: StreamModulations) -> Tensor<3> {
        match modulations {
            StreamModulations::AttendedOnly => x,
            StreamModulations::Whole { attention, feed_forward } => {
                let x = self.attention.project_onto(x, attended, &attention.gate);
                self.fed_forward(x, &feed_forward)
            }
            StreamModulations::Dual { attention, feed_forward, second_attention, second_input } => {
                let x = self.attention.project_onto(x, attended, &attention.gate);
                let x = match &self.second_attention {
                    Some(second) => {
                        let [attended] = second.attend([second.project(second_input)]);
                        second.project_onto(x, attended, &second_attention.gate)
                    }
                    None => x,
                };
                self.fed_forward(x, &feed_forward)
            }
        }
    }

    fn fed_forward(&self, x: Tensor<3>, modulation: &Modulation) -> Tensor<3> {
        match &self.feed_forward {
            Some(feed_forward) => feed_forward.forward_onto(&x, modulation.apply(x.clone()), &modulation.gate),
            None => x,
        }
    }
}

impl StreamAttention {
    fn new(config: &Sd3Config, with_output: bool, device: &Device) -> Self {
        /// Epsilon of the norms of queries and keys.
        const EPSILON: f64 = 1e-6;
        let square = || ProjectionConfig::new(config.hidden_size(), config.hidden_size()).init(device);
        let norm = || match config.qk_norm {
            QkNorm::None => None,
            QkNorm::RootMeanSquare => Some(RmsNormConfig::new(config.head_dim).with_epsilon(EPSILON).init(device)),
        };
        Self {
            query: square(),
            key: square(),
            value: square(),
            query_norm: norm(),
            key_norm: norm(),
            output: with_output.then(square),
            num_heads: config.num_heads,
        }
    }

    fn project(&self, x: Tensor<3>) -> Attending {
        let heads = |projection: &Projection, norm: &Option<RmsNorm>| match norm {
            Some(norm) => projection.forward_heads(x.clone(), HeadNorm { norm, rotations: None }),
            None => projection.forward(x.clone()),
        };
        Attending {
            query: heads(&self.query, &self.query_norm),
            key: heads(&self.key, &self.key_norm),
            value: self.value.forward(x.clone()),
        }
    }

    fn attend<const N: usize>(&self, segments: [Attending; N]) -> [Tensor<3>; N] {
        let options = AttentionOptions { products: self.query.products(), ..Default::default() };
        ops::attention(segments, self.num_heads, &options)
    }

    /// `x + gate · output(attended)`.
    fn project_onto(&self, x: Tensor<3>, attended: Tensor<3>, gate: &Tensor<2>) -> Tensor<3> {
        match &self.output {
            Some(output) => output.forward_onto(&x, attended, Some(gate)),
            None => x,
        }
    }
}
