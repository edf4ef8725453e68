//! Convolutions of images, with what comes before and after them.

#[cfg(all(test, feature = "flex"))]
mod tests;

use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, silu};
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use super::cast;
use super::products::Products;

/// A convolution with what comes before and after it:
/// `relu(convolution(doubled(silu(norm(images)))) + residual)`, of which all but the convolution may be left out.
///
/// On Burn's CPU backend (feature `flex`) in f32 all of it is one pass: nothing is written out but the result, and a doubled image
/// is never made. There the kernel may be in f16 or bf16.
///
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::nn::{GroupNormConfig, PaddingConfig2d};
/// use burn::tensor::{Device, Tensor};
/// use diffusion_core::ops::Convolution;
///
/// let device = Device::flex();
/// let norm = GroupNormConfig::new(2, 4).init(&device);
/// let kernel = Conv2dConfig::new([4, 4], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(&device);
/// let images = Tensor::<4>::ones([1, 4, 8, 8], &device);
/// let result = Convolution::by(&kernel).after_silu_of(&norm).plus(images.clone()).forward(images);
/// assert_eq!(result.dims(), [1, 4, 8, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct Convolution<'a> {
    kernel: &'a Conv2d,
    norm: Option<&'a GroupNorm>,
    doubled: bool,
    residual: Option<Tensor<4>>,
    relu: bool,
    products: Products,
}

impl<'a> Convolution<'a> {
    /// The convolution alone.
    pub fn by(kernel: &'a Conv2d) -> Self {
        Self { kernel, norm: None, doubled: false, residual: None, relu: false, products: Products::Exact }
    }

    /// Normalise the images and apply SiLU first.
    #[must_use]
    pub fn after_silu_of(self, norm: &'a GroupNorm) -> Self {
        Self { norm: Some(norm), ..self }
    }

    /// Double the sides of the images before, every pixel a square of two by two.
    #[must_use]
    pub fn of_doubled(self) -> Self {
        Self { doubled: true, ..self }
    }

    /// Add `residual`, in the shape of the result.
    #[must_use]
    pub fn plus(self, residual: Tensor<4>) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// Replace what is negative by zero in the end.
    #[must_use]
    pub fn then_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Compute its products so exactly.
    #[must_use]
    pub fn with_products(self, products: Products) -> Self {
        Self { products, ..self }
    }

    /// Apply all of it.
    ///
    /// # Shapes
    /// - images: `[batch, channels, height, width]`, result: `[batch, outputs, new height, new width]`
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub fn forward(self, images: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if let Some(result) = flex::convolution(&self, &images) {
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

/// The bodies for Burn's CPU backend; `None` where the general way must do.
#[cfg(feature = "flex")]
mod flex {
    use burn::module::Param;
    use burn::nn::conv::Conv2d;
    use burn::nn::{GroupNorm, PaddingConfig2d};
    use burn::tensor::{DType, Tensor};
    use diffusion_kernels::{
        Activation, Border, ChannelNorm, Convolution as Sums, Cpu, GroupNorm as Groups, Images, Residual, Source, Weight,
        WeightFormat, Window, convolution as convolve, group_norm as moments,
    };

    use super::Convolution;
    use crate::ops::flex::{bytes, contiguous, contiguous_option, numbers, numbers_option};
    use crate::ops::large_buffer::filled_f32;

    /// In one pass; `None` where the general way must do.
    pub(super) fn convolution(plan: &Convolution<'_>, images: &Tensor<4>) -> Option<Tensor<4>> {
        let device = images.device();
        let shape = images.dims();
        let window = window(plan.kernel, plan.doubled)?;
        let kernel = plan.kernel.weight.val();
        let [outputs, channels, ..] = kernel.dims();
        let format = match kernel.dtype() {
            DType::F32 => WeightFormat::F32,
            DType::F16 => WeightFormat::F16,
            DType::BF16 => WeightFormat::Bf16,
            _ => return None,
        };
        let [height, width] = window.output_size([shape[2], shape[3]]);
        let result_shape = [shape[0], outputs, height, width];
        if channels != shape[1] || plan.residual.as_ref().is_some_and(|residual| residual.dims() != result_shape) {
            return None;
        }
        let kernel = contiguous(&kernel)?;
        let bias = contiguous_option(plan.kernel.bias.as_ref().map(Param::val).as_ref())?;
        let residual = contiguous_option(plan.residual.as_ref())?;
        let images = contiguous(images)?;
        let pixels = numbers(&images)?;
        let norm = match plan.norm {
            Some(norm) => Some(channel_norm(norm, pixels, shape)?),
            None => None,
        };
        let activation = if norm.is_some() { Activation::Silu } else { Activation::None };
        let images = Images { norm: norm.as_ref(), activation, ..Images::new(pixels, shape) };
        let weight = Weight::new(format, bytes(&kernel)?, [outputs, channels * window.kernel_len()]);
        let sums = Sums {
            bias: numbers_option(bias.as_ref())?,
            residual: numbers_option(residual.as_ref())?.map_or(Residual::None, Residual::From),
            activation: if plan.relu { Activation::Relu } else { Activation::None },
            ..Sums::new(window, weight)
        };
        let convolve = |out: &mut [f32]| convolve(Cpu::detect(), plan.products.into(), images, &sums, out);
        Some(filled_f32(result_shape, &device, convolve))
    }

    pub(super) fn group_norm(norm: &GroupNorm, images: &Tensor<4>) -> Option<Tensor<4>> {
        let (device, shape) = (images.device(), images.dims());
        let images = contiguous(images)?;
        let pixels = numbers(&images)?;
        let moments = channel_norm(norm, pixels, shape)?;
        let apply = |out: &mut [f32]| {
            moments.apply(Cpu::detect(), Activation::None, shape[2] * shape[3], Source::From(pixels), out);
        };
        Some(filled_f32(shape, &device, apply))
    }

    /// What the kernel of a convolution covers, if it is of a kind that is known.
    fn window(kernel: &Conv2d, doubled: bool) -> Option<Window> {
        if kernel.dilation != [1, 1] || kernel.groups != 1 {
            return None;
        }
        Some(match (kernel.kernel_size, kernel.stride, &kernel.padding, doubled) {
            ([1, 1], [1, 1], PaddingConfig2d::Valid | PaddingConfig2d::Same | PaddingConfig2d::Explicit(0, 0, 0, 0), false) => {
                Window::Pixel
            }
            ([3, 3], [1, 1], PaddingConfig2d::Same | PaddingConfig2d::Explicit(1, 1, 1, 1), false) => Window::Square,
            ([3, 3], [1, 1], PaddingConfig2d::Same | PaddingConfig2d::Explicit(1, 1, 1, 1), true) => Window::SquareOfDoubled,
            ([3, 3], [2, 2], PaddingConfig2d::Explicit(1, 1, 1, 1), false) => Window::SquareOfSecond(Border::Around),
            ([3, 3], [2, 2], PaddingConfig2d::Explicit(0, 0, 1, 1), false) => Window::SquareOfSecond(Border::RightAndBelow),
            _ => return None,
        })
    }

    fn channel_norm(norm: &GroupNorm, pixels: &[f32], [_, channels, height, width]: [usize; 4]) -> Option<ChannelNorm> {
        let [weight, bias] = [contiguous(&norm.gamma.as_ref()?.val())?, contiguous(&norm.beta.as_ref()?.val())?];
        let (weight, bias) = (numbers(&weight)?, numbers(&bias)?);
        if !norm.affine || weight.len() != channels || pixels.is_empty() {
            return None;
        }
        let groups = Groups { groups: norm.num_groups, weight, bias, epsilon: norm.epsilon as f32 };
        Some(moments(Cpu::detect(), groups, height * width, pixels))
    }
}
