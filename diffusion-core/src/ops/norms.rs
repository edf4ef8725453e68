//! Norms of tokens.

use burn::nn::{LayerNorm, RmsNorm};
use burn::tensor::{DType, FloatDType, Tensor, module};

/// `norm(x)`.
///
/// # Shapes
/// - x and result: `[batch, len, width]`
pub fn rms_norm(x: Tensor<3>, norm: &RmsNorm) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(normed) = flex::rms_norm(&x, norm) {
        return normed;
    }
    norm.forward(x)
}

/// `norm(x)`, where `epsilon` is the one that the norm was made with.
///
/// # Shapes
/// - x and result: `[batch, len, width]`
pub fn layer_norm(x: Tensor<3>, norm: &LayerNorm, epsilon: f64) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(normed) = flex::layer_norm(&x, norm, epsilon) {
        return normed;
    }
    let _ = epsilon;
    norm.forward(x)
}

/// `norm(x) (1 + scale) + shift`, a layer norm without weights, computed in f32: adaptive layer norm.
///
/// # Shapes
/// - x and result: `[batch, len, width]`; shift, scale: `[batch, width]`
pub fn modulated_norm(x: Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>, epsilon: f64) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let Some(normed) = flex::modulated_norm(&x, shift, scale, epsilon) {
        return normed;
    }
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    if let Some(normed) = recorded::modulated_norm(&x, shift, scale, epsilon) {
        return normed;
    }
    general_modulated_norm(x, shift, scale, epsilon)
}

fn general_modulated_norm(x: Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>, epsilon: f64) -> Tensor<3> {
    let [batch, _, _] = x.dims();
    let compute: FloatDType = x.dtype().into();
    let x = x.cast(DType::F32);
    let [shift, scale] = [shift, scale].map(|modulation| modulation.clone().cast(DType::F32));
    // One fused operation per image: its modulation takes the place of the norm's weights.
    let norm_of = |row: usize| {
        let of_row = |modulation: &Tensor<2>| modulation.clone().narrow(0, row, 1).squeeze_dim::<1>(0);
        module::layer_norm(x.clone().narrow(0, row, 1), of_row(&scale) + 1.0, Some(of_row(&shift)), epsilon)
    };
    let normed = if batch == 1 { norm_of(0) } else { Tensor::cat((0..batch).map(norm_of).collect(), 0) };
    normed.cast(compute)
}

/// One pass each, on all cores; `None` where the general way must do.
#[cfg(feature = "flex")]
mod flex {
    use burn::nn::{LayerNorm, RmsNorm};
    use burn::tensor::Tensor;
    use diffusion_kernels::{Affine, Cpu, PerImage, Source};

    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::filled_f32;

    pub(super) fn rms_norm(x: &Tensor<3>, norm: &RmsNorm) -> Option<Tensor<3>> {
        let [values, weight] = [contiguous(x)?, contiguous(&norm.gamma.val())?];
        let (source, weight, epsilon) = (Source::From(numbers(&values)?), numbers(&weight)?, norm.epsilon as f32);
        Some(filled_f32(x.dims(), &x.device(), |out| {
            diffusion_kernels::rms_norm(Cpu::detect(), source, weight, epsilon, out);
        }))
    }

    pub(super) fn layer_norm(x: &Tensor<3>, norm: &LayerNorm, epsilon: f64) -> Option<Tensor<3>> {
        let [values, weight, bias] = [contiguous(x)?, contiguous(&norm.gamma.val())?, contiguous(&norm.beta.as_ref()?.val())?];
        let affine = Affine::Weight { weight: numbers(&weight)?, bias: numbers(&bias)? };
        let (source, width) = (Source::From(numbers(&values)?), x.dims()[2]);
        Some(filled_f32(x.dims(), &x.device(), |out| {
            diffusion_kernels::layer_norm(Cpu::detect(), source, width, affine, epsilon as f32, out);
        }))
    }

    pub(super) fn modulated_norm(x: &Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>, epsilon: f64) -> Option<Tensor<3>> {
        let [_, len, width] = x.dims();
        let [values, shift, scale] = [contiguous(x)?, contiguous(shift)?, contiguous(scale)?];
        let per_image = |modulation| Some(PerImage::new(numbers(modulation)?, len.max(1)));
        let affine = Affine::Modulation { scale: per_image(&scale)?, shift: per_image(&shift)? };
        let source = Source::From(numbers(&values)?);
        Some(filled_f32(x.dims(), &x.device(), |out| {
            diffusion_kernels::layer_norm(Cpu::detect(), source, width, affine, epsilon as f32, out);
        }))
    }
}

/// With gradients by a kernel; `None` where the general way must do.
#[cfg(all(feature = "flex", feature = "autodiff"))]
mod recorded {
    use burn::tensor::Tensor;
    use diffusion_kernels::{Cpu, PerImage, layer_norm_backward};

    use super::flex;
    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::filled_f32;
    use crate::ops::recorded::{Computed, recorded};

    pub(super) fn modulated_norm(x: &Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>, epsilon: f64) -> Option<Tensor<3>> {
        let [batch, len, width] = x.dims();
        let normed = recorded([&x.clone().reshape([batch * len, width]), shift, scale], |[x, shift, scale]| {
            let tokens = x.clone().reshape([batch, len, width]);
            let output = flex::modulated_norm(&tokens, &shift, &scale, epsilon)?;
            let (x, scale, device) = (contiguous(&x)?, contiguous(&scale)?, x.device());
            let of_input = move |gradient: &Tensor<2>| {
                let gradient = contiguous(gradient)?;
                let (x, gradient, scale) = (numbers(&x)?, numbers(&gradient)?, PerImage::new(numbers(&scale)?, len.max(1)));
                Some(filled_f32([batch * len, width], &device, |out| {
                    layer_norm_backward(Cpu::detect(), x, width, scale, epsilon as f32, gradient, out);
                }))
            };
            let of_images = move |numbers: Tensor<3>| numbers.sum_dim(1).reshape([batch, width]);
            let of_scale = move |gradient: Tensor<3>| {
                let zeros = Tensor::zeros([batch, width], &gradient.device());
                Some(of_images(gradient * flex::modulated_norm(&tokens, &zeros, &zeros, epsilon)?))
            };
            Some(Computed::new(output.reshape([batch * len, width]), move |gradient, wanted| {
                let of_tokens = || gradient.clone().reshape([batch, len, width]);
                [
                    if wanted[0] { of_input(&gradient) } else { None },
                    wanted[1].then(|| of_images(of_tokens())),
                    if wanted[2] { of_scale(of_tokens()) } else { None },
                ]
            }))
        })?;
        Some(normed.reshape([batch, len, width]))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::module::Param;
    use burn::nn::{LayerNormConfig, RmsNormConfig};
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::noise::TorchGenerator;

    const EPSILON: f64 = 1e-5;

    fn assert_equal(name: &str, found: Option<Tensor<3>>, expected: Tensor<3>) {
        let found = found.unwrap_or_else(|| panic!("{name} is left to the general way"));
        let largest = |x: Tensor<3>| x.abs().max().into_scalar::<f32>();
        // Numbers of about 30 have rounding errors of 2e-6, and the differences from their mean have them too.
        let error = largest(found - expected.clone()) / largest(expected);
        assert!(error < 4e-6, "{name}: {error}");
    }

    #[test]
    fn the_kernels_normalise_as_the_general_ways_do() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(4);
        let mut random = |shape: &[usize]| TensorData::new(generator.normal(shape.iter().product()), shape.to_vec());
        for [batch, len, width] in [[1, 5, 24], [2, 3, 70], [3, 1, 1]] {
            // Far from zero: sums of squares alone would lose the variance.
            let x = Tensor::<3>::from_data(random(&[batch, len, width]), &device) + 30.0;
            let all = Tensor::<2>::from_data(random(&[batch, 2 * width]), &device);
            let [shift, scale] = [0, width].map(|first| all.clone().narrow(1, first, width));
            let vector = |data| Param::from_tensor(Tensor::<1>::from_data(data, &device));
            let mut rms = RmsNormConfig::new(width).with_epsilon(EPSILON).init(&device);
            rms.gamma = vector(random(&[width]));
            let mut layer = LayerNormConfig::new(width).with_epsilon(EPSILON).init(&device);
            (layer.gamma, layer.beta) = (vector(random(&[width])), Some(vector(random(&[width]))));
            assert_equal("rms norm", flex::rms_norm(&x, &rms), rms.forward(x.clone()));
            if width > 1 {
                assert_equal("layer norm", flex::layer_norm(&x, &layer, EPSILON), layer.forward(x.clone()));
                let expected = general_modulated_norm(x.clone(), &shift, &scale, EPSILON);
                assert_equal("modulated norm", flex::modulated_norm(&x, &shift, &scale, EPSILON), expected);
            }
        }
    }

    #[cfg(feature = "autodiff")]
    #[test]
    fn gradients_by_kernels_are_those_of_the_general_way() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(5);
        // Of two numbers, norms have no gradient but rounding errors.
        for [batch, len, width] in [[1, 5, 24], [2, 3, 70], [3, 1, 9]] {
            let mut random = |shape: &[usize]| TensorData::new(generator.normal(shape.iter().product()), shape.to_vec());
            let x = Tensor::<3>::from_data(random(&[batch, len, width]), &device) + 3.0;
            let of_output = Tensor::<3>::from_data(random(&[batch, len, width]), &device);
            let [shift, scale] = [(); 2].map(|()| Tensor::<2>::from_data(random(&[batch, width]), &device));
            // Of whom gradients are asked.
            for asked in [[true, false, false], [true, true, true], [true, false, true], [false, true, false]] {
                let leaf = |index: usize, tensor: &Tensor<2>| {
                    if asked[index] { tensor.clone().autodiff().require_grad() } else { tensor.clone() }
                };
                let gradients = |norm: &dyn Fn(Tensor<3>, &Tensor<2>, &Tensor<2>) -> Tensor<3>| {
                    let flat = leaf(0, &x.clone().reshape([batch * len, width]));
                    let (shift, scale) = (leaf(1, &shift), leaf(2, &scale));
                    let output = norm(flat.clone().reshape([batch, len, width]), &shift, &scale);
                    let all = (output.clone() * of_output.clone().autodiff()).sum().backward();
                    let of_inputs = [flat, shift, scale].map(|input| input.is_autodiff().then(|| input.grad(&all)).flatten());
                    (output.without_autodiff(), of_inputs)
                };
                let kernels = |x: Tensor<3>, shift: &Tensor<2>, scale: &Tensor<2>| {
                    recorded::modulated_norm(&x, shift, scale, EPSILON).expect("a kernel")
                };
                let (found, of_found) = gradients(&kernels);
                let (_, expected) = gradients(&|x, shift, scale| general_modulated_norm(x, shift, scale, EPSILON));
                // Recording changes nothing.
                let plain = flex::modulated_norm(&x, &shift, &scale, EPSILON).unwrap();
                assert_eq!(found.into_data(), plain.into_data());
                for ((found, expected), asked) in of_found.into_iter().zip(expected).zip(asked) {
                    assert_eq!((found.is_some(), expected.is_some()), (asked, asked));
                    let Some((found, expected)) = found.zip(expected) else { continue };
                    let largest = |x: Tensor<2>| x.abs().max().into_scalar::<f32>();
                    let error = largest(found - expected.clone()) / largest(expected).max(1.0);
                    assert!(error < 1e-5, "{batch} x {len} x {width}: {error}");
                }
            }
        }
    }
}
