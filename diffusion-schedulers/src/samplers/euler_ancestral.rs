//! Euler's method with fresh noise.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::{AddedNoise, ancestral_steps};
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
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        ancestral_steps(run, self.path, &self.noise, |_, _, denoised, _| Ok(denoised))
    }
}
