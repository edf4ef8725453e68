//! The block that tiny autoencoders consist of.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use diffusion_core::ops::Convolution;

use crate::layers::convolution_3x3;

/// Three convolutions beside a path that carries the input past them.
///
/// Reference: taesd `taesd.py#L16` at 5cccb12.
#[derive(Module, Debug)]
pub(super) struct TinyBlock {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
}

impl TinyBlock {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        let convolution = || convolution_3x3([channels, channels]).init(device);
        Self { conv1: convolution(), conv2: convolution(), conv3: convolution() }
    }

    /// Apply the block.
    ///
    /// # Shapes
    /// - x and result: `[batch, channels, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let hidden_states = Convolution::by(&self.conv1).then_relu().forward(x.clone());
        let hidden_states = Convolution::by(&self.conv2).then_relu().forward(hidden_states);
        Convolution::by(&self.conv3).plus(x).then_relu().forward(hidden_states)
    }
}
