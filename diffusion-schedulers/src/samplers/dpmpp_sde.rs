//! DPM-Solver++ (SDE).

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::{AddedNoise, AncestralStep};
use super::run::{Advanced, run_steps};
use super::sde_step::with_finite_start;
use crate::path::NoisePath;

/// DPM-Solver++ of second order from one step of the diffusion SDE. Two evaluations a step, one for a step to zero.
///
/// It needs noise by level, from a [`BrownianTree`](diffusion_core::noise::BrownianTree). Both evaluations of a step see
/// noise, and the noise of the first is a part of that of the second. With independent draws images lose variance.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L729` at a125cd8; arXiv 2211.01095.
#[derive(Clone, Debug)]
pub struct DpmPpSde {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The noise.
    pub noise: AddedNoise,
    /// Where the second evaluation is, as a share of the step in the log-SNR: a half in the reference.
    pub middle: f64,
    /// Stands for 1 in the formulas of a flow that starts there: 0.9999 moved by the model's shift in the reference.
    pub first_sigma: f64,
}

impl DpmPpSde {
    /// The settings of the reference, for a flow without shift.
    pub fn new(path: NoisePath, noise: AddedNoise) -> Self {
        Self { path, noise, middle: 0.5, first_sigma: 0.9999 }
    }

    /// The step of first order from `sigma` to `target` before noise is added, and the deviation of that noise.
    fn step(&self, x: Tensor<4>, denoised: Tensor<4>, sigma: f64, target: f64) -> (Tensor<4>, f64) {
        let unscaled = |sigma: f64| (-self.path.half_log_snr(sigma)).exp();
        let split = AncestralStep::exploding(unscaled(sigma), unscaled(target), self.noise.eta);
        let (alpha, kept) = (self.path.alpha(target), split.down / unscaled(sigma));
        let x = x * (alpha / self.path.alpha(sigma) * kept) + denoised * (alpha * (1.0 - kept));
        (x, alpha * split.up * self.noise.scale)
    }
}

impl Sampler for DpmPpSde {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        let mut noise = self.noise.begin(&run);
        let levels = with_finite_start(self.path, run.sigmas, self.first_sigma);
        let mut add = |x: Tensor<4>, deviation: f64, from: f64, to: f64| {
            if deviation > 0.0 { x + noise.between(from, to) * deviation } else { x }
        };
        run_steps(run, |step, x| {
            let next = step.next;
            let denoised = step.denoised(&x, step.sigma)?;
            if next == 0.0 {
                return Ok(Advanced { latents: denoised.clone(), denoised });
            }
            let sigma = levels[step.index];
            let lambda = self.path.half_log_snr(sigma);
            let middle = self.path.sigma_at(lambda + self.middle * (self.path.half_log_snr(next) - lambda));
            let (half, deviation) = self.step(x.clone(), denoised.clone(), sigma, middle);
            let half = add(half, deviation, sigma, middle);
            let share = 0.5 / self.middle;
            let target = denoised.clone() * (1.0 - share) + step.denoised(&half, middle)? * share;
            let (whole, deviation) = self.step(x, target, sigma, next);
            Ok(Advanced { latents: add(whole, deviation, sigma, next), denoised })
        })
    }
}
