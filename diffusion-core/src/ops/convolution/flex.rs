//! The body for Burn's CPU backend.

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
    if !norm.affine || weight.len() != channels {
        return None;
    }
    let groups = Groups { groups: norm.num_groups, weight, bias, epsilon: norm.epsilon as f32 };
    Some(moments(Cpu::detect(), groups, height * width, pixels))
}
