//! The sampler of consistency models.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, Sampler, SamplerStep, Sigmas};

use super::added_noise::AddedNoise;
use super::run::Run;
use crate::path::NoisePath;

/// Go all the way to the picture, and add noise for the next level: for networks distilled to be sampled so, in a few steps.
/// One evaluation a step.
///
/// Eta has no say here: all the noise is fresh.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L1003` at a125cd8; diffusers `scheduling_flow_match_lcm.py` and
/// `scheduling_lcm.py` at 58eb52c; arXiv 2310.04378.
#[derive(Clone, Debug)]
pub struct Lcm {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The noise.
    pub noise: AddedNoise,
}

impl Sampler for Lcm {
    fn sample(
        &self,
        velocity: &mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, SampleError> {
        let mut run = Run::new(velocity, sigmas, on_step);
        let mut x = latents.cast(DType::F32);
        let mut noise = self.noise.begin(&x, sigmas);
        for (index, sigma, next) in sigmas.steps() {
            let denoised = run.denoised(&x, sigma);
            x = denoised.clone();
            if next > 0.0 {
                x = self.path.mix(x, noise.between(sigma, next) * self.noise.scale, next);
            }
            run.finish(index, next, &x, denoised)?;
        }
        Ok(x)
    }
}
