//! DPM-Solver++ (2S) with fresh noise.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::{AddedNoise, ancestral_steps};
use super::towards::towards;
use crate::path::NoisePath;

/// DPM-Solver++ of second order from one step, to a lower level than the next one, and noise to come back up to it. Two
/// evaluations a step, one for a step to zero.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L640` and `#L678` (flow) at a125cd8; arXiv 2211.01095, algorithm 1.
#[derive(Clone, Debug)]
pub struct DpmPp2SAncestral {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The noise.
    pub noise: AddedNoise,
}

impl DpmPp2SAncestral {
    /// The level between two others, half way in the log-SNR.
    fn middle(&self, sigma: f64, down: f64) -> f64 {
        /// The reference's middle for a flow that starts at 1, whose log-SNR has none.
        const AFTER_PURE_NOISE: f64 = 0.9999;
        if self.path == NoisePath::Flow && sigma >= 1.0 {
            return AFTER_PURE_NOISE.max(down);
        }
        self.path.sigma_at(f64::midpoint(self.path.half_log_snr(sigma), self.path.half_log_snr(down)))
    }
}

impl Sampler for DpmPp2SAncestral {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        ancestral_steps(run, self.path, &self.noise, |step, x, denoised, down| {
            if down > 0.0 {
                let middle = self.middle(step.sigma, down);
                step.denoised(&towards(x.clone(), denoised, step.sigma, middle), middle)
            } else {
                Ok(denoised)
            }
        })
    }
}
