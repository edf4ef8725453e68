//! The body for the CPU backend against the general one.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{GroupNormConfig, PaddingConfig2d};
use burn::tensor::{Device, FloatDType, TensorData};

use super::*;
use crate::noise::TorchGenerator;

const CHANNELS: usize = 6;
const OUTPUTS: usize = 5;

/// Every parameter drawn from a normal distribution.
fn randomised<M: Module>(module: M, generator: &mut TorchGenerator) -> M {
    struct Mapper<'a>(&'a mut TorchGenerator);
    impl ModuleMapper for Mapper<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.lazy_shape();
            let data = TensorData::new(self.0.normal(shape.num_elements()), shape);
            Param::initialized(param.id, Tensor::from_data(data, &Device::flex()))
        }
    }
    module.map(&mut Mapper(generator))
}

fn kernels(generator: &mut TorchGenerator) -> Vec<Conv2d> {
    let kernel = |side: usize| Conv2dConfig::new([CHANNELS, OUTPUTS], [side, side]);
    let around = PaddingConfig2d::Explicit(1, 1, 1, 1);
    let configs = [
        kernel(1),
        kernel(3).with_padding(around.clone()),
        kernel(3).with_padding(PaddingConfig2d::Same).with_bias(false),
        kernel(3).with_padding(around).with_stride([2, 2]),
        kernel(3).with_padding(PaddingConfig2d::Explicit(0, 0, 1, 1)).with_stride([2, 2]),
    ];
    configs.into_iter().map(|config| randomised(config.init(&Device::flex()), generator)).collect()
}

fn images(generator: &mut TorchGenerator, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(generator.normal(shape.iter().product()), shape), &Device::flex())
}

fn assert_close(found: Tensor<4>, expected: Tensor<4>, case: &str) {
    assert_eq!(found.dims(), expected.dims(), "{case}");
    let largest = |x: Tensor<4>| -> f32 { x.abs().max().into_scalar() };
    // Sums of some tens of products, added in another order.
    let error = largest(found - expected.clone()) / largest(expected);
    assert!(error < 2e-6, "{case}: {error}");
}

#[test]
fn the_kernel_convolves_as_the_general_way_does() {
    let mut generator = TorchGenerator::new(3);
    let norm = randomised(GroupNormConfig::new(3, CHANNELS).with_epsilon(1e-6).init(&Device::flex()), &mut generator);
    let mut compared = 0;
    for kernel in kernels(&mut generator) {
        for [batch, height, width] in [[1, 2, 2], [2, 7, 9], [1, 16, 33]] {
            let x = images(&mut generator, [batch, CHANNELS, height, width]);
            for doubled in [false, true] {
                if doubled && (kernel.kernel_size, kernel.stride) != ([3, 3], [1, 1]) {
                    continue;
                }
                let plain = Convolution { doubled, ..Convolution::by(&kernel) };
                let residual = images(&mut generator, plain.clone().general(x.clone()).dims());
                let plans = [
                    plain.clone(),
                    plain.clone().after_silu_of(&norm),
                    plain.clone().then_relu(),
                    plain.clone().after_silu_of(&norm).plus(residual.clone()),
                    plain.plus(residual).then_relu(),
                ];
                for plan in plans {
                    let case = format!("{plan:?}");
                    let found = flex::convolution(&plan, &x, diffusion_kernels::Products::F32).expect("a kernel for f32");
                    assert_close(found, plan.general(x.clone()), &case);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 7 * 3 * 5);
}

#[test]
fn images_may_be_views_and_kernels_narrow() {
    let mut generator = TorchGenerator::new(4);
    let whole = images(&mut generator, [1, 2 * CHANNELS, 9, 12]);
    let view = whole.clone().narrow(1, CHANNELS, CHANNELS).swap_dims(2, 3);
    for kernel in kernels(&mut generator) {
        for dtype in [FloatDType::F16, FloatDType::BF16] {
            let mut narrow = kernel.clone();
            narrow.weight = narrow.weight.map(|weight| weight.cast(dtype));
            let plan = Convolution::by(&narrow);
            let found = flex::convolution(&plan, &view, diffusion_kernels::Products::F32).expect("a kernel");
            assert_close(found, plan.general(view.clone()), &format!("{dtype:?}"));
        }
    }
}

#[test]
fn other_kernels_and_types_and_what_is_empty_are_left_to_the_general_way() {
    let device = Device::flex();
    let x = Tensor::<4>::ones([1, CHANNELS, 8, 8], &device);
    let products = diffusion_kernels::Products::F32;
    let large = Conv2dConfig::new([CHANNELS, OUTPUTS], [5, 5]).init(&device);
    assert!(flex::convolution(&Convolution::by(&large), &x, products).is_none());
    assert_eq!(Convolution::by(&large).forward(x.clone()).dims(), [1, OUTPUTS, 4, 4]);
    let square = Conv2dConfig::new([CHANNELS, OUTPUTS], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device);
    let half = cast(x, FloatDType::F16);
    assert!(flex::convolution(&Convolution::by(&square), &half, products).is_none());
    assert_eq!(Convolution::by(&square).forward(half).dtype(), burn::tensor::DType::F16);
    let norm = GroupNormConfig::new(3, CHANNELS).init(&device);
    let nothing = Tensor::<4>::zeros([0, CHANNELS, 8, 8], &device);
    assert!(flex::convolution(&Convolution::by(&square).after_silu_of(&norm), &nothing, products).is_none());
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_are_followed() {
    let device = Device::flex().autodiff();
    let mut generator = TorchGenerator::new(6);
    let numbers = TensorData::new(generator.normal(2 * CHANNELS * 20), [2, CHANNELS, 4, 5]);
    let norm = GroupNormConfig::new(3, CHANNELS).init(&device);
    let kernel = Conv2dConfig::new([CHANNELS, OUTPUTS], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device);
    let gradient = |forward: &dyn Fn(Convolution<'_>, Tensor<4>) -> Tensor<4>| {
        let x = Tensor::<4>::from_data(numbers.clone(), &device).require_grad();
        let result = forward(Convolution::by(&kernel).after_silu_of(&norm), x.clone());
        let gradients = result.square().sum().backward();
        (x.grad(&gradients).unwrap(), kernel.weight.val().grad(&gradients).unwrap())
    };
    let (of_images, of_kernel) = gradient(&|plan, x| plan.forward(x));
    let (expected_of_images, expected_of_kernel) = gradient(&|plan, x| plan.general(x));
    assert_close(of_images, expected_of_images, "gradient of the images");
    assert_close(of_kernel, expected_of_kernel, "gradient of the kernel");
}

#[test]
fn images_are_normalised_as_the_general_way_does() {
    let mut generator = TorchGenerator::new(5);
    let norm = randomised(GroupNormConfig::new(2, CHANNELS).with_epsilon(1e-6).init(&Device::flex()), &mut generator);
    let x = images(&mut generator, [2, CHANNELS, 5, 7]);
    let found = flex::group_norm(&norm, &x).expect("a kernel for f32");
    assert_close(found, norm.forward(x), "group norm");
}

#[test]
fn a_pixel_becomes_a_square() {
    let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &Device::flex());
    let values = doubled(x).into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(values, [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
}
