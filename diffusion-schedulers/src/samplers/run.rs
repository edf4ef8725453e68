//! What every sampler does around its formulas.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, SamplerStep, Sigmas};

/// One run: asks the network, in float 32 and at the exact noise level, reports the steps, and stops when told to.
pub(super) struct Run<'a> {
    velocity: &'a mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
    on_step: &'a mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    num_steps: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        velocity: &'a mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        sigmas: &Sigmas,
        on_step: &'a mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Self {
        Self { velocity, on_step, num_steps: sigmas.num_steps() }
    }

    /// The velocity at `x`.
    pub(super) fn velocity(&mut self, x: &Tensor<4>, sigma: f64) -> Tensor<4> {
        (self.velocity)(x.clone(), sigma).cast(DType::F32)
    }

    /// The picture that the network sees in `x`: `x₀ = x - σ velocity`.
    pub(super) fn denoised(&mut self, x: &Tensor<4>, sigma: f64) -> Tensor<4> {
        x.clone() - self.velocity(x, sigma) * sigma
    }

    /// All steps of a method that goes straight towards a picture, the same as [`towards`] takes: the first and the last
    /// towards what the network sees, the others towards `target` of that, of the picture of the step before, and of three
    /// levels: that of the step before, this one, the next.
    pub(super) fn two_steps(
        mut self,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        target: impl Fn(Tensor<4>, Tensor<4>, [f64; 3]) -> Tensor<4>,
    ) -> Result<Tensor<4>, SampleError> {
        let mut x = latents.cast(DType::F32);
        // The picture and the level of the step before.
        let mut before: Option<(Tensor<4>, f64)> = None;
        for (index, sigma, next) in sigmas.steps() {
            let denoised = self.denoised(&x, sigma);
            let picture = match before {
                Some((old, old_sigma)) if next > 0.0 => target(denoised.clone(), old, [old_sigma, sigma, next]),
                _ => denoised.clone(),
            };
            x = towards(x, picture, sigma, next);
            before = Some((denoised.clone(), sigma));
            self.finish(index, next, &x, denoised)?;
        }
        Ok(x)
    }

    /// Report that step `index` led to `x` at noise level `sigma`.
    pub(super) fn finish(&mut self, index: usize, sigma: f64, x: &Tensor<4>, denoised: Tensor<4>) -> Result<(), SampleError> {
        let num_steps = self.num_steps;
        let step = SamplerStep { index, num_steps, sigma, latents: x.clone(), denoised };
        if (self.on_step)(step).is_break() { Err(SampleError::Cancelled { index, num_steps }) } else { Ok(()) }
    }
}

/// The step of first order, exact for a picture that does not change: Euler's, DDIM's and the first of every exponential
/// integrator. `(σ'/σ) x + (1 - σ'/σ) x₀`, since `α'(1 - e^-h) = 1 - σ'/σ` on either path.
pub(super) fn towards(x: Tensor<4>, denoised: Tensor<4>, sigma: f64, next: f64) -> Tensor<4> {
    if next == 0.0 {
        return denoised;
    }
    let kept = next / sigma;
    x * kept + denoised * (1.0 - kept)
}
