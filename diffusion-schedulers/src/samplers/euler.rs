//! Euler's method.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, Sampler, SamplerStep, Sigmas};

use super::run::Run;

/// Euler's method, one evaluation a step: `x += (σ' - σ) velocity(x, σ)`. What Stable Diffusion 3 and FLUX.1 were
/// released with, and DDIM without noise.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L423` at 58eb52c; arXiv 2206.00364, algorithm 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Euler;

impl Sampler for Euler {
    fn sample(
        &self,
        velocity: &mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, SampleError> {
        let mut run = Run::new(velocity, sigmas, on_step);
        let mut x = latents.cast(DType::F32);
        for (index, sigma, next) in sigmas.steps() {
            let v = run.velocity(&x, sigma);
            let denoised = x.clone() - v.clone() * sigma;
            x = x + v * (next - sigma);
            run.finish(index, next, &x, denoised)?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_callback_that_breaks_ends_the_run() {
        let sigmas = Sigmas::new(vec![1.0, 0.5, 0.0]).unwrap();
        let mut seen = Vec::new();
        let result = Euler.sample(&mut |x, _| x, Tensor::zeros([1, 1, 1, 1], &Device::flex()), &sigmas, &mut |step| {
            seen.push((step.index, step.num_steps));
            ControlFlow::Break(())
        });
        assert_eq!(result.unwrap_err(), SampleError::Cancelled { index: 0, num_steps: 2 });
        assert_eq!(seen, [(0, 2)]);
    }
}
