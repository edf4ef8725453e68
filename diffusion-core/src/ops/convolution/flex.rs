//! The body for Burn's CPU backend.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, PaddingConfig2d};
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexTensor};
use diffusion_kernels::{
    Activation, Border, ChannelNorm, Convolution as Sums, Cpu, GroupNorm as Groups, Images, Products, Residual, Source, Weight,
    WeightFormat, Window, convolution as convolve, group_norm as moments,
};

use super::chain::Convolution;
use crate::ops::large_buffer::filled_f32;

/// In one pass; `None` where the general way must do.
pub(super) fn convolution(plan: &Convolution<'_>, images: &Tensor<4>, products: Products) -> Option<Tensor<4>> {
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
    if shape.contains(&0)
        || channels != shape[1]
        || plan.residual.as_ref().is_some_and(|residual| residual.dims() != result_shape)
    {
        return None;
    }
    let kernel = contiguous(&kernel)?;
    let bias = optional(plan.kernel.bias.as_ref().map(Param::val).as_ref())?;
    let residual = optional(plan.residual.as_ref())?;
    let images = floats(images)?;
    let pixels = images.as_slice::<f32>()?;
    let norm = match plan.norm {
        Some(norm) => Some(channel_norm(norm, pixels, shape)?),
        None => None,
    };
    let activation = if norm.is_some() { Activation::Silu } else { Activation::None };
    let images = Images { norm: norm.as_ref(), activation, ..Images::new(pixels, shape) };
    let weight = Weight::new(format, bytes(&kernel)?, [outputs, channels * window.kernel_len()]);
    let sums = Sums {
        bias: match &bias {
            Some(bias) => Some(bias.as_slice::<f32>()?),
            None => None,
        },
        residual: match &residual {
            Some(residual) => Residual::From(residual.as_slice::<f32>()?),
            None => Residual::None,
        },
        activation: if plan.relu { Activation::Relu } else { Activation::None },
        ..Sums::new(window, weight)
    };
    let convolve = |out: &mut [f32]| convolve(Cpu::detect(), products, images, &sums, out);
    Some(filled_f32(result_shape, &device, convolve))
}

pub(super) fn group_norm(norm: &GroupNorm, images: &Tensor<4>) -> Option<Tensor<4>> {
    let (device, shape) = (images.device(), images.dims());
    if shape.contains(&0) {
        return None;
    }
    let images = floats(images)?;
    let pixels = images.as_slice::<f32>()?;
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
    let (weight, bias) = (floats(&norm.gamma.as_ref()?.val())?, floats(&norm.beta.as_ref()?.val())?);
    let (weight, bias) = (weight.as_slice::<f32>()?, bias.as_slice::<f32>()?);
    if !norm.affine || weight.len() != channels {
        return None;
    }
    let groups = Groups { groups: norm.num_groups, weight, bias, epsilon: norm.epsilon as f32 };
    Some(moments(Cpu::detect(), groups, height * width, pixels))
}

/// A tensor on this backend, its numbers one after the other.
fn contiguous<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    Some(tensor.clone().try_into_primitive::<Flex>().ok()?.to_contiguous())
}

fn floats<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    (tensor.dtype() == DType::F32).then(|| contiguous(tensor))?
}

/// `None` if there is a tensor that is of another kind.
fn optional<const D: usize>(tensor: Option<&Tensor<D>>) -> Option<Option<FlexTensor>> {
    match tensor {
        Some(tensor) => floats(tensor).map(Some),
        None => Some(None),
    }
}

fn bytes(tensor: &FlexTensor) -> Option<&[u8]> {
    let (start, end) = tensor.layout().contiguous_offsets()?;
    let size = tensor.dtype().size();
    Some(&tensor.bytes()[size * start..size * end])
}
