//! Euler's method.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::run::{Advanced, run_steps};

/// Euler's method, one evaluation a step: `x += (σ' - σ) velocity(x, σ)`. Stable Diffusion 3 and FLUX.1 were released with
/// it, and it is DDIM without noise.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L423` at 58eb52c; arXiv 2206.00364, algorithm 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Euler;

impl Sampler for Euler {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        run_steps(run, |step, x| {
            let v = step.velocity(&x, step.sigma)?;
            let denoised = x.clone() - v.clone() * step.sigma;
            Ok(Advanced { latents: x + v * (step.next - step.sigma), denoised })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use diffusion_core::Sigmas;
    use std::ops::ControlFlow;

    #[test]
    fn a_callback_that_breaks_ends_the_run() {
        let sigmas = Sigmas::new(vec![1.0, 0.5, 0.0]).unwrap();
        let mut seen = Vec::new();
        let result = Euler.sample(SamplerRun {
            velocity: &mut |at| Ok(at.latents),
            latents: Tensor::zeros([1, 1, 1, 1], &Device::flex()),
            sigmas: &sigmas,
            on_step: &mut |step| {
                seen.push((step.index, step.num_steps));
                ControlFlow::Break(())
            },
        });
        let error = result.unwrap_err();
        assert!(matches!(error, SampleError::Cancelled { index: 0, num_steps: 2 }), "{error:?}");
        assert_eq!(error.to_string(), "cancelled after step 1 of 2");
        assert_eq!(seen, [(0, 2)]);
    }
}
