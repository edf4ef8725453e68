//! DPM-Solver++ (2M) as k-diffusion writes it.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::towards::two_steps;

/// DPM-Solver++ of second order from two steps, one evaluation a step, stepping in `-ln σ`: "DPM++ 2M" of k-diffusion,
/// `ComfyUI` and Stability's own code. They use it unchanged for flow models as well.
///
/// [`DpmPp2MLogSnr`](super::DpmPp2MLogSnr) extrapolates in the flow's signal-to-noise ratio instead, as diffusers does, and
/// gives other images from the same levels.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L786` at a125cd8; Stability-AI/sd3.5 `sd3_impls.py#L353`;
/// arXiv 2211.01095, algorithm 2.
#[derive(Clone, Copy, Debug, Default)]
pub struct DpmPp2M;

impl Sampler for DpmPp2M {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        two_steps(run, |denoised, old, [old_sigma, sigma, next]| {
            let ratio = (old_sigma / sigma).ln() / (sigma / next).ln();
            denoised.clone() + (denoised - old) * (0.5 / ratio)
        })
    }
}
