//! RES, the refined exponential solver, over several steps.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::towards::two_steps;

/// The refined exponential solver of second order from two steps, one evaluation a step, stepping in `-ln σ`.
///
/// Like [`DpmPp2M`](super::DpmPp2M), with the weights that the order conditions of stiff equations ask for.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L1364` at a125cd8 with `eta=0`; arXiv 2308.02157.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResMultistep;

impl Sampler for ResMultistep {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        two_steps(run, |denoised, old, [old_sigma, sigma, next]| {
            let h = (sigma / next).ln();
            let c_2 = -(old_sigma / sigma).ln() / h;
            let phi_1 = -(-h).exp_m1() / h;
            let phi_2 = (1.0 - phi_1) / h;
            // As shares of the step of first order, whose weight is h φ₁.
            let old_share = phi_2 / (c_2 * phi_1);
            denoised * (1.0 - old_share) + old * old_share
        })
    }
}
