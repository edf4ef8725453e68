//! What comes before and after a convolution.

use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

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
    pub(super) kernel: &'a Conv2d,
    pub(super) norm: Option<&'a GroupNorm>,
    pub(super) doubled: bool,
    pub(super) residual: Option<Tensor<4>>,
    pub(super) relu: bool,
}

impl<'a> Convolution<'a> {
    /// The convolution alone.
    pub fn by(kernel: &'a Conv2d) -> Self {
        Self { kernel, norm: None, doubled: false, residual: None, relu: false }
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
}
