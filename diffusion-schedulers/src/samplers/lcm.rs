//! The sampler of consistency models.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::AddedNoise;
use super::run::{Advanced, run_steps};
use crate::path::NoisePath;

/// Go all the way to the image, then add noise for the next level. For networks distilled to be sampled so, in a few steps.
/// One evaluation a step.
///
/// Eta has no effect: all the noise is fresh.
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
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        let mut noise = self.noise.begin(&run);
        run_steps(run, |step, x| {
            let denoised = step.denoised(&x, step.sigma)?;
            let mut latents = denoised.clone();
            if step.next > 0.0 {
                let fresh = noise.between(step.sigma, step.next) * self.noise.scale;
                latents = self.path.mix(latents, fresh, step.next);
            }
            Ok(Advanced { latents, denoised })
        })
    }
}
