//! What becomes of the result of a linear layer before anyone reads it.

use burn::nn::RmsNorm;
use burn::tensor::Tensor;

use super::activation::Activation;
use super::rotations::Rotations;

/// What becomes of the result of a linear layer. On Burn's CPU backend (feature `flex`) it happens while the result is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Epilogue<'a> {
    /// Nothing.
    #[default]
    None,
    /// A function of each number.
    Activation(Activation),
    /// `residual + gate · result`.
    Residual {
        /// `[batch, len, output_size]`
        residual: &'a Tensor<3>,
        /// `[batch, output_size]`; one if there is none.
        gate: Option<&'a Tensor<2>>,
    },
    /// The result holds heads, which are normalised.
    Heads(HeadNorm<'a>),
}

/// How the heads of queries and keys are prepared for attention: normalised, then turned by the position of their token.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm<'a> {
    /// Of each head's numbers.
    pub norm: &'a RmsNorm,
    /// Of the tokens of each element of the batch.
    pub rotations: Option<&'a Rotations>,
}

impl Epilogue<'_> {
    /// # Shapes
    /// - result: `[batch * len, output_size]`
    pub(crate) fn apply(self, result: Tensor<2>) -> Tensor<2> {
        let dims = result.dims();
        match self {
            Self::None => result,
            Self::Activation(activation) => activation.apply(result),
            Self::Residual { residual, gate } => {
                #[cfg(all(feature = "flex", feature = "autodiff"))]
                if let Some(sum) = recorded::onto(&result, residual, gate) {
                    return sum;
                }
                let result = result.reshape(residual.dims());
                let result = match gate {
                    Some(gate) => result * gate.clone().unsqueeze_dim(1),
                    None => result,
                };
                (residual.clone() + result).reshape(dims)
            }
            Self::Heads(HeadNorm { norm, rotations }) => {
                #[cfg(all(feature = "flex", feature = "autodiff"))]
                if let Some(heads) = recorded::heads(&result, norm, rotations) {
                    return heads;
                }
                let [head_dim] = norm.gamma.lazy_shape().dims();
                let heads = norm.forward(result.reshape([dims[0], dims[1] / head_dim, head_dim]));
                let heads = match rotations {
                    Some(rotations) => rotations.apply(heads),
                    None => heads,
                };
                heads.reshape(dims)
            }
        }
    }
}

/// With gradients by kernels; `None` where the general way must do.
#[cfg(all(feature = "flex", feature = "autodiff"))]
mod recorded {
    use burn::nn::RmsNorm;
    use burn::tensor::Tensor;
    use diffusion_kernels::{Cpu, HeadNorm, PerImage, add_gated, gate_rows, normalise_heads, normalise_heads_backward};

    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::filled_f32;
    use crate::ops::recorded::{Computed, recorded};
    use crate::ops::rotations::Rotations;
    use crate::ops::rotations::flex::{rope, tables};

    /// `residual + gate · result`.
    pub(super) fn onto(result: &Tensor<2>, residual: &Tensor<3>, gate: Option<&Tensor<2>>) -> Option<Tensor<2>> {
        let ([batch, len, _], shape) = (residual.dims(), result.dims());
        let residual = residual.clone().reshape(shape);
        let Some(gate) = gate else {
            return recorded([&residual, result], |[residual, result]| {
                Some(Computed::new(residual + result, |gradient, _| [Some(gradient.clone()), Some(gradient)]))
            });
        };
        // Only its gradient needs the result.
        let keeps_result = gate.is_tracked();
        recorded([&residual, result, gate], |[residual, result, gate]| {
            let device = result.device();
            let gate = contiguous(&gate)?;
            // Rounded as where a layer adds while it writes.
            let sum = {
                let (residual, result) = (contiguous(&residual)?, contiguous(&result)?);
                let (residual, result) = (numbers(&residual)?, numbers(&result)?);
                let gate = PerImage::new(numbers(&gate)?, len.max(1));
                filled_f32(shape, &device, |out| {
                    out.copy_from_slice(residual);
                    add_gated(Cpu::detect(), result, gate, shape[1], out);
                })
            };
            let result = keeps_result.then_some(result);
            let gated = move |gradient: &Tensor<2>| {
                let (gradient, gate) = (contiguous(gradient)?, PerImage::new(numbers(&gate)?, len.max(1)));
                let gradient = numbers(&gradient)?;
                Some(filled_f32(shape, &device, |out| gate_rows(Cpu::detect(), gradient, gate, shape[1], out)))
            };
            Some(Computed::new(sum, move |gradient, wanted| {
                let of_gate = result.as_ref().filter(|_| wanted[2]).map(|result| {
                    let products = (gradient.clone() * result.clone()).reshape([batch, len, shape[1]]);
                    products.sum_dim(1).reshape([batch, shape[1]])
                });
                let of_result = if wanted[1] { gated(&gradient) } else { None };
                [Some(gradient), of_result, of_gate]
            }))
        })
    }

    /// Heads, normalised and turned.
    pub(super) fn heads(x: &Tensor<2>, norm: &RmsNorm, rotations: Option<&Rotations>) -> Option<Tensor<2>> {
        let shape = x.dims();
        let weight = contiguous(&norm.gamma.val())?;
        let tables = tables(rotations)?;
        let epsilon = norm.epsilon as f32;
        recorded([x], |[x]| {
            let device = x.device();
            let x = contiguous(&x)?;
            let output = {
                let (x, norm, rope) = (numbers(&x)?, HeadNorm { weight: numbers(&weight)?, epsilon }, rope(tables.as_ref())?);
                filled_f32(shape, &device, |out| {
                    out.copy_from_slice(x);
                    normalise_heads(Cpu::detect(), norm, rope, shape[1] / norm.weight.len(), out);
                })
            };
            let of_input = move |gradient: Tensor<2>| {
                let gradient = contiguous(&gradient)?;
                let (x, gradient) = (numbers(&x)?, numbers(&gradient)?);
                let (norm, rope) = (HeadNorm { weight: numbers(&weight)?, epsilon }, rope(tables.as_ref())?);
                Some(filled_f32(shape, &device, |out| {
                    normalise_heads_backward(Cpu::detect(), norm, rope, shape[1] / norm.weight.len(), x, gradient, out);
                }))
            };
            Some(Computed::new(output, move |gradient, _| [of_input(gradient)]))
        })
    }
}

#[cfg(all(test, feature = "flex", feature = "autodiff"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::noise::TorchGenerator;

    /// A way to compute `residual + gate · result`.
    type Sum<'a> = &'a dyn Fn(&Tensor<2>, &Tensor<3>, Option<&Tensor<2>>) -> Tensor<2>;

    #[test]
    fn gradients_of_gated_sums_are_those_of_the_general_way() {
        let device = Device::flex();
        let mut generator = TorchGenerator::new(6);
        for [batch, len, width] in [[1, 5, 24], [2, 3, 70], [3, 1, 1]] {
            let mut random =
                |rows: usize| Tensor::<2>::from_data(TensorData::new(generator.normal(rows * width), [rows, width]), &device);
            let (residual, result, gate, of_sum) = (random(batch * len), random(batch * len), random(batch), random(batch * len));
            // Of whom gradients are asked: residual, result, gate.
            for asked in [[true, true, false], [true, true, true], [false, true, true], [false, false, true]] {
                for gated in [true, false] {
                    if !gated && asked == [false, false, true] {
                        continue;
                    }
                    let leaf = |index: usize, tensor: &Tensor<2>| {
                        if asked[index] { tensor.clone().autodiff().require_grad() } else { tensor.clone() }
                    };
                    let gradients = |sum: Sum<'_>| {
                        let leaves = [leaf(0, &residual), leaf(1, &result), leaf(2, &gate)];
                        let [residual, result, gate] = &leaves;
                        let output = sum(result, &residual.clone().reshape([batch, len, width]), Some(gate).filter(|_| gated));
                        let all = (output.clone() * of_sum.clone().autodiff()).sum().backward();
                        (output, leaves.map(|leaf| leaf.is_autodiff().then(|| leaf.grad(&all)).flatten()))
                    };
                    let (sum, found) =
                        gradients(&|result, residual, gate| recorded::onto(result, residual, gate).expect("a kernel"));
                    let (expected_sum, expected) = gradients(&|result, residual, gate| {
                        let result = result.clone().reshape(residual.dims());
                        let result = gate.map_or(result.clone(), |gate| result * gate.clone().unsqueeze_dim(1));
                        (residual.clone() + result).reshape([batch * len, width])
                    });
                    let largest = |x: Tensor<2>| x.abs().max().into_scalar::<f32>();
                    assert!(largest(sum.without_autodiff() - expected_sum.without_autodiff()) < 1e-6);
                    for (index, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                        assert_eq!(found.is_some(), asked[index] && (gated || index < 2), "{asked:?} {index}");
                        let Some((found, expected)) = found.zip(expected) else { continue };
                        assert!(largest(found - expected) < 1e-5, "{batch} x {len} x {width}, {index}");
                    }
                }
            }
        }
    }
}
