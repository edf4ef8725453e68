//! What convolutional autoencoders are made of.

use burn::nn::conv::Conv2dConfig;
use burn::nn::{Initializer, PaddingConfig2d};

/// A 3x3 convolution that keeps the size, `channels` in and out; zeros until a checkpoint is loaded.
pub(crate) fn convolution_3x3(channels: [usize; 2]) -> Conv2dConfig {
    Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).with_initializer(Initializer::Zeros)
}
