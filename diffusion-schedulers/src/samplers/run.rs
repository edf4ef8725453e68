//! The frame of a run, which all samplers share: evaluate the velocity, report the steps, stop when told to.

use burn::tensor::{DType, Tensor};
use diffusion_core::{Evaluation, SampleError, SamplerRun, SamplerStep, VelocityError};

/// Take all steps of a run. `advance` takes one step from the latents at its start.
pub(super) fn run_steps(
    run: SamplerRun<'_>,
    mut advance: impl FnMut(&mut Step<'_>, Tensor<4>) -> Result<Advanced, SampleError>,
) -> Result<Tensor<4>, SampleError> {
    let SamplerRun { velocity, latents, sigmas, on_step } = run;
    let num_steps = sigmas.num_steps();
    let mut x = latents.cast(DType::F32);
    for (index, sigma, next) in sigmas.steps() {
        let advanced = advance(&mut Step { velocity: &mut *velocity, index, num_steps, sigma, next }, x)?;
        x = advanced.latents;
        let step = SamplerStep { index, num_steps, sigma: next, latents: x.clone(), denoised: advanced.denoised };
        if on_step(step).is_break() {
            return Err(SampleError::Cancelled { index, num_steps });
        }
    }
    Ok(x)
}

/// One step of a run, and the way to evaluate the velocity in it.
pub(super) struct Step<'a> {
    velocity: &'a mut dyn FnMut(Evaluation) -> Result<Tensor<4>, VelocityError>,
    /// Index of the step, from 0.
    pub(super) index: usize,
    /// Number of steps of the run.
    pub(super) num_steps: usize,
    /// Noise level at the start of the step.
    pub(super) sigma: f64,
    /// Noise level at its end.
    pub(super) next: f64,
}

impl Step<'_> {
    /// The velocity of `x` at a noise level, in float 32.
    pub(super) fn velocity(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>, SampleError> {
        let evaluation = Evaluation { latents: x.clone(), sigma, step: self.index };
        let velocity = (self.velocity)(evaluation).map_err(SampleError::Velocity)?;
        Ok(velocity.cast(DType::F32))
    }

    /// The image that the network sees in `x` at a noise level: `x₀ = x - σ velocity`.
    pub(super) fn denoised(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>, SampleError> {
        Ok(x.clone() - self.velocity(x, sigma)? * sigma)
    }
}

/// What a step leads to.
pub(super) struct Advanced {
    /// The latents at the end of the step.
    pub(super) latents: Tensor<4>,
    /// The image that the network saw at its start.
    pub(super) denoised: Tensor<4>,
}
