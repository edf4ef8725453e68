//! The three forms of GELU that published models use.

use burn::tensor::{Tensor, activation};
#[cfg(feature = "flex")]
use diffusion_kernels::Activation;

/// GELU with the error function, `x Φ(x)`: CLIP-G.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(activated) = flex::activated(&x, Activation::GeluErf) {
        return activated;
    }
    activation::gelu(x)
}

/// GELU with the tanh approximation: transformer blocks and T5 (`gelu_new`). arXiv 1606.08415, section 2.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(activated) = flex::activated(&x, Activation::GeluTanh) {
        return activated;
    }
    activation::gelu_approximate(x)
}

/// GELU with the logistic function, `x σ(1.702 x)`: CLIP-L. arXiv 1606.08415, section 2.
pub fn gelu_quick<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(activated) = flex::activated(&x, Activation::GeluQuick) {
        return activated;
    }
    let gate = activation::sigmoid(x.clone().mul_scalar(1.702));
    x * gate
}

#[cfg(feature = "flex")]
mod flex {
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use diffusion_kernels::{Activation, Cpu, Source, activate};

    use crate::ops::large_buffer::filled_f32;

    /// In one pass on all cores; `None` where the general way must do.
    pub(super) fn activated<const D: usize>(x: &Tensor<D>, activation: Activation) -> Option<Tensor<D>> {
        let primitive = x.clone().try_into_primitive::<Flex>().ok()?;
        let values = primitive.as_slice::<f32>()?;
        let activate = |out: &mut [f32]| activate(Cpu::detect(), activation, Source::From(values), out);
        Some(filled_f32(x.dims(), &x.device(), activate))
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
        let quick = x.clone() * activation::sigmoid(x.clone().mul_scalar(1.702));
        let all = [
            (gelu_erf(x.clone()), activation::gelu(x.clone())),
            (gelu_tanh(x.clone()), activation::gelu_approximate(x.clone())),
            (gelu_quick(x.clone()), quick),
        ];
        for (found, expected) in all {
            let difference: f32 = (found - expected).abs().max().into_scalar();
            assert!(difference < 2e-6, "{difference}");
        }
    }
}
