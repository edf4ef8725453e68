//! Residual blocks, and the attention between them.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Initializer};
use burn::tensor::{Device, Tensor};
use diffusion_core::ops::{self, Attending, AttentionOptions, Convolution, Products, attention};
use diffusion_core::weights::{Projection, ProjectionConfig};

use crate::layers::convolution_3x3;

/// Group norm as all published autoencoders have it.
pub(super) fn group_norm(num_groups: usize, channels: usize, device: &Device) -> GroupNorm {
    const EPSILON: f64 = 1e-6;
    GroupNormConfig::new(num_groups, channels).with_epsilon(EPSILON).init(device)
}

/// Two convolutions beside a path that carries the input past them.
///
/// Reference: sd3.5 `sd3_impls.py#L391`; diffusers `models/resnet.py` `ResnetBlock2D` without time embedding.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Where the number of channels changes.
    shortcut: Option<Conv2d>,
}

/// Sizes of a [`ResidualBlock`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ResidualBlockConfig {
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    pub(super) num_groups: usize,
}

impl ResidualBlockConfig {
    /// Blocks one after the other, of which the first changes the number of channels.
    pub(super) fn init_many(self, num_blocks: usize, device: &Device) -> Vec<ResidualBlock> {
        let next = Self { channels_in: self.channels_out, ..self };
        (0..num_blocks).map(|index| if index == 0 { self } else { next }.init(device)).collect()
    }

    pub(super) fn init(self, device: &Device) -> ResidualBlock {
        let Self { channels_in, channels_out, num_groups } = self;
        let shortcut = Conv2dConfig::new([channels_in, channels_out], [1, 1]).with_initializer(Initializer::Zeros);
        ResidualBlock {
            norm1: group_norm(num_groups, channels_in, device),
            conv1: convolution_3x3([channels_in, channels_out]).init(device),
            norm2: group_norm(num_groups, channels_out, device),
            conv2: convolution_3x3([channels_out, channels_out]).init(device),
            shortcut: (channels_in != channels_out).then(|| shortcut.init(device)),
        }
    }
}

impl ResidualBlock {
    /// Apply the block.
    ///
    /// # Shapes
    /// - x: `[batch, channels_in, height, width]`, result: `[batch, channels_out, height, width]`
    pub fn forward(&self, x: Tensor<4>, products: Products) -> Tensor<4> {
        let convolution = |kernel| Convolution::by(kernel).with_products(products);
        let hidden_states = convolution(&self.conv1).after_silu_of(&self.norm1).forward(x.clone());
        let carried = match &self.shortcut {
            Some(shortcut) => convolution(shortcut).forward(x),
            None => x,
        };
        convolution(&self.conv2).after_silu_of(&self.norm2).plus(carried).forward(hidden_states)
    }
}

/// Self-attention over all positions, with one head as wide as the channels.
///
/// Reference: sd3.5 `sd3_impls.py#L447`.
#[derive(Module, Debug)]
pub struct SpatialAttention {
    norm: GroupNorm,
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
}

impl SpatialAttention {
    fn new(channels: usize, num_groups: usize, device: &Device) -> Self {
        let projection = || ProjectionConfig::new(channels, channels).init(device);
        Self {
            norm: group_norm(num_groups, channels, device),
            query: projection(),
            key: projection(),
            value: projection(),
            output: projection(),
        }
    }

    /// Apply the attention and add its input.
    ///
    /// # Shapes
    /// - x and result: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let tokens = ops::group_norm(&self.norm, x.clone()).reshape([batch, channels, height * width]).swap_dims(1, 2);
        let tokens = Attending {
            query: self.query.forward(tokens.clone()),
            key: self.key.forward(tokens.clone()),
            value: self.value.forward(tokens),
        };
        let options = AttentionOptions { products: self.query.products(), ..Default::default() };
        let [mixed] = attention([tokens], 1, &options);
        let mixed = self.output.forward(mixed).swap_dims(1, 2);
        x + mixed.reshape([batch, channels, height, width])
    }
}

/// What stands between the levels and the latents, in encoder and decoder.
#[derive(Module, Debug)]
pub struct Middle {
    first: ResidualBlock,
    attention: SpatialAttention,
    last: ResidualBlock,
}

impl Middle {
    pub(super) fn new(channels: usize, num_groups: usize, device: &Device) -> Self {
        let block = ResidualBlockConfig { channels_in: channels, channels_out: channels, num_groups };
        Self {
            first: block.init(device),
            attention: SpatialAttention::new(channels, num_groups, device),
            last: block.init(device),
        }
    }

    /// Apply both blocks, and the attention between them.
    ///
    /// # Shapes
    /// - x and result: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>, products: Products) -> Tensor<4> {
        self.last.forward(self.attention.forward(self.first.forward(x, products)), products)
    }
}
