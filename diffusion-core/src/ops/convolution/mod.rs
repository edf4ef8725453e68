//! Convolutions of images, with what comes before and after them.

mod chain;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(test, feature = "flex"))]
mod tests;

use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, silu};
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use super::cast;
pub use chain::Convolution;

impl Convolution<'_> {
    /// Apply all of it.
    ///
    /// # Shapes
    /// - images: `[batch, channels, height, width]`, result: `[batch, outputs, new height, new width]`
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn forward(self, images: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if let Some(result) = flex::convolution(&self, &images, diffusion_kernels::Products::F32) {
            return result;
        }
        self.general(images)
    }

    fn general(self, images: Tensor<4>) -> Tensor<4> {
        let images = match self.norm {
            Some(norm) => silu(norm.forward(images)),
            None => images,
        };
        let images = if self.doubled { doubled(images) } else { images };
        let result = convolved(self.kernel, images);
        let result = match self.residual {
            Some(residual) => residual + result,
            None => result,
        };
        if self.relu { relu(result) } else { result }
    }
}

/// Burn's convolution, in the type of the images.
fn convolved(kernel: &Conv2d, images: Tensor<4>) -> Tensor<4> {
    let dtype = images.dtype();
    if kernel.weight.val().dtype() == dtype {
        return kernel.forward(images);
    }
    let mut kernel = kernel.clone();
    kernel.weight = kernel.weight.map(|weight| cast(weight, dtype.into()));
    kernel.bias = kernel.bias.map(|bias| bias.map(|bias| cast(bias, dtype.into())));
    kernel.forward(images)
}

/// Every pixel becomes a square of two by two.
///
/// # Shapes
/// - images: `[batch, channels, height, width]`, result: `[batch, channels, 2 height, 2 width]`
fn doubled(images: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = images.dims();
    interpolate(images, InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * height, 2 * width]))
}

/// The group norm of `images`; on Burn's CPU backend (feature `flex`) in f32 in two passes on all cores.
///
/// # Shapes
/// - images and result: `[batch, channels, height, width]`
pub fn group_norm(norm: &GroupNorm, images: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(result) = flex::group_norm(norm, &images) {
        return result;
    }
    norm.forward(images)
}
