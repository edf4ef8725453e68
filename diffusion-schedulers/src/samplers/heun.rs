//! Heun's method.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::run::{Advanced, run_steps};

/// Heun's method: the mean of the velocities at both ends of a step. Two evaluations a step, one for a step to zero.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L262` at a125cd8; diffusers `scheduling_flow_match_heun_discrete.py`
/// at 58eb52c; arXiv 2206.00364, algorithm 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heun;

impl Sampler for Heun {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        run_steps(run, |step, x| {
            let (sigma, next) = (step.sigma, step.next);
            let v = step.velocity(&x, sigma)?;
            let denoised = x.clone() - v.clone() * sigma;
            let euler = x.clone() + v.clone() * (next - sigma);
            let latents = if next == 0.0 { euler } else { x + (v + step.velocity(&euler, next)?) * (0.5 * (next - sigma)) };
            Ok(Advanced { latents, denoised })
        })
    }
}
