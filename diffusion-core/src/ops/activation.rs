//! Activations that published models use.

use burn::tensor::{Tensor, activation};

/// A function of each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// GELU with the error function, `x Φ(x)`: CLIP-G.
    GeluErf,
    /// GELU with the tanh approximation: transformer blocks and T5 (`gelu_new`). arXiv 1606.08415, section 2.
    GeluTanh,
    /// GELU with the logistic function, `x σ(1.702 x)`: CLIP-L. arXiv 1606.08415, section 2.
    GeluQuick,
    /// `x σ(x)`.
    Silu,
}

impl Activation {
    /// The function of each number.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(activated) = flex::activated(&x, self) {
            return activated;
        }
        #[cfg(all(feature = "flex", feature = "autodiff"))]
        if let Some(activated) = recorded::activated(&x, self) {
            return activated;
        }
        self.general(x)
    }

    /// The function of each number, times a factor of each number: gated feed-forward layers. arXiv 2002.05202.
    ///
    /// # Shapes
    /// - x and factor: the same
    pub fn apply_and_multiply<const D: usize>(self, x: Tensor<D>, factor: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(activated) = flex::activated_and_multiplied(&x, &factor, self) {
            return activated;
        }
        self.general(x) * factor
    }

    pub(super) fn general<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::GeluErf => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::GeluQuick => {
                let gate = activation::sigmoid(x.clone().mul_scalar(1.702));
                x * gate
            }
            Self::Silu => activation::silu(x),
        }
    }
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::Tensor;
    use diffusion_kernels::{Cpu, Source, activate, activate_and_multiply};

    use super::Activation;
    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::filled_f32;

    impl From<Activation> for diffusion_kernels::Activation {
        fn from(activation: Activation) -> Self {
            match activation {
                Activation::GeluErf => Self::GeluErf,
                Activation::GeluTanh => Self::GeluTanh,
                Activation::GeluQuick => Self::GeluQuick,
                Activation::Silu => Self::Silu,
            }
        }
    }

    /// In one pass on all cores; `None` where the general way must do.
    pub(super) fn activated<const D: usize>(x: &Tensor<D>, activation: Activation) -> Option<Tensor<D>> {
        let primitive = contiguous(x)?;
        let values = numbers(&primitive)?;
        let activate = |out: &mut [f32]| activate(Cpu::detect(), activation.into(), Source::From(values), out);
        Some(filled_f32(x.dims(), &x.device(), activate))
    }

    /// As [`activated`].
    pub(super) fn activated_and_multiplied<const D: usize>(
        x: &Tensor<D>,
        factor: &Tensor<D>,
        activation: Activation,
    ) -> Option<Tensor<D>> {
        if x.dims() != factor.dims() {
            return None;
        }
        let [x_values, factor_values] = [contiguous(x)?, contiguous(factor)?];
        let (source, factor) = (numbers(&x_values)?, numbers(&factor_values)?);
        Some(filled_f32(x.dims(), &x.device(), |out| {
            activate_and_multiply(Cpu::detect(), activation.into(), Source::From(source), factor, out);
        }))
    }
}

/// With gradients by a kernel; `None` where the general way must do.
#[cfg(all(feature = "flex", feature = "autodiff"))]
mod recorded {
    use burn::tensor::Tensor;
    use diffusion_kernels::{Cpu, activate_backward};

    use super::{Activation, flex};
    use crate::ops::flex::{contiguous, numbers};
    use crate::ops::large_buffer::filled_f32;
    use crate::ops::recorded::{Computed, recorded};

    pub(super) fn activated<const D: usize>(x: &Tensor<D>, activation: Activation) -> Option<Tensor<D>> {
        let dims = x.dims();
        let width = dims[D - 1];
        let activated = recorded([&x.clone().reshape([-1, width as i32])], |[x]| {
            let output = flex::activated(&x, activation)?;
            let (shape, device) = (x.dims(), x.device());
            let slope = move |gradient: Tensor<2>| {
                let (x, gradient) = (contiguous(&x)?, contiguous(&gradient)?);
                let (numbers_of_x, gradient) = (numbers(&x)?, numbers(&gradient)?);
                Some(filled_f32(shape, &device, |out| {
                    activate_backward(Cpu::detect(), activation.into(), numbers_of_x, gradient, out);
                }))
            };
            Some(Computed::new(output, move |gradient, _| [slope(gradient)]))
        })?;
        Some(activated.reshape(dims))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn the_kernels_follow_the_general_way_from_tail_to_tail() {
        let device = Device::flex();
        let values: Vec<f32> = (-1200..=1200).map(|step| step as f32 / 100.0).collect();
        let x = Tensor::<1>::from_data(TensorData::new(values, [2401]), &device);
        for activation in [Activation::GeluErf, Activation::GeluTanh, Activation::GeluQuick, Activation::Silu] {
            let expected = activation.general(x.clone());
            let factor = x.clone() + 0.5;
            let multiplied = flex::activated_and_multiplied(&x, &factor, activation).expect("a kernel");
            let difference: f32 = (multiplied - expected.clone() * factor).abs().max().into_scalar();
            assert!(difference < 2e-5, "{activation:?} multiplied: {difference}");
            let found = flex::activated(&x, activation).expect("a kernel");
            let difference: f32 = (found - expected).abs().max().into_scalar();
            assert!(difference < 2e-6, "{activation:?}: {difference}");
        }
    }
}
