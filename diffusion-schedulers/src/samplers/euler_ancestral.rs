//! Euler's method with fresh noise.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerStep, Sigmas};

use super::added_noise::{AddedNoise, ancestral_steps};
use super::run::Run;
use crate::path::NoisePath;

/// Euler's method to a lower level than the next one, and noise to come back up to it. One evaluation a step.
///
/// Without noise (eta 0) it is [`Euler`](super::Euler).
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L209` and `#L234` (flow) at a125cd8.
#[derive(Clone, Debug)]
pub struct EulerAncestral {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The noise.
    pub noise: AddedNoise,
}

impl Sampler for EulerAncestral {
    fn sample(
        &self,
        velocity: &mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, SampleError> {
        let run = Run::new(velocity, sigmas, on_step);
        ancestral_steps(run, latents, sigmas, self.path, &self.noise, |_, _, denoised, _| denoised)
    }
}
