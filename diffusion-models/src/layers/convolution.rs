//! What convolutional autoencoders are made of.

use burn::nn::conv::Conv2dConfig;
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// A 3x3 convolution that keeps the size, `channels` in and out; zeros until a checkpoint is loaded.
pub(crate) fn convolution_3x3(channels: [usize; 2]) -> Conv2dConfig {
    Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).with_initializer(Initializer::Zeros)
}

/// Every latent pixel becomes a square of two by two.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`, result: `[batch, channels, 2 height, 2 width]`
pub(crate) fn upsample_nearest(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    interpolate(x, InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * height, 2 * width]))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_cell_becomes_a_square() {
        let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &Device::flex());
        let values = upsample_nearest(x).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values, [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
    }
}
