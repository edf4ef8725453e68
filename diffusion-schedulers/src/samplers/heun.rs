//! Heun's method.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, Sampler, SamplerStep, Sigmas};

use super::run::Run;

/// Heun's method: the mean of the velocities at both ends of a step. Two evaluations a step, one for a step to zero.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L262` at a125cd8; diffusers `scheduling_flow_match_heun_discrete.py`
/// at 58eb52c; arXiv 2206.00364, algorithm 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heun;

impl Sampler for Heun {
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
            let euler = x.clone() + v.clone() * (next - sigma);
            x = if next == 0.0 { euler } else { x + (v + run.velocity(&euler, next)) * (0.5 * (next - sigma)) };
            run.finish(index, next, &x, denoised)?;
        }
        Ok(x)
    }
}
