//! Steps of the stochastic differential equation, which several samplers share.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, SamplerRun, Sigmas};

use super::added_noise::AddedNoise;
use super::run::{Advanced, run_steps};
use crate::path::NoisePath;

/// The numbers of one exponential step of the diffusion SDE from data predictions.
pub(super) struct SdeStep {
    /// Step in half the log-SNR.
    pub(super) h: f64,
    /// The same, longer by the share of noise that is replaced.
    h_eta: f64,
    /// Share of the image at the next level.
    alpha: f64,
    kept: f64,
    /// Deviation of the noise to add.
    deviation: f64,
}

impl SdeStep {
    /// The step from `sigma` to `next`, both above zero, replacing the share `eta` of the noise.
    pub(super) fn new(path: NoisePath, sigma: f64, next: f64, eta: f64) -> Self {
        let h = path.half_log_snr(next) - path.half_log_snr(sigma);
        Self {
            h,
            h_eta: h * (1.0 + eta),
            alpha: path.alpha(next),
            kept: next / sigma * (-h * eta).exp(),
            deviation: next * (-(-2.0 * h * eta).exp_m1()).max(0.0).sqrt(),
        }
    }

    /// The step for an image that does not change.
    pub(super) fn first_order(&self, x: Tensor<4>, denoised: Tensor<4>) -> Tensor<4> {
        x * self.kept + denoised * (-self.alpha * (-self.h_eta).exp_m1())
    }

    /// Weight of the image's slope by the midpoint.
    pub(super) fn midpoint(&self) -> f64 {
        -0.5 * self.alpha * (-self.h_eta).exp_m1()
    }

    /// Exact weight of the image's slope.
    pub(super) fn phi_2(&self) -> f64 {
        self.alpha * self.bare_phi_2()
    }

    /// Exact weight of the image's curvature, to be subtracted.
    pub(super) fn phi_3(&self) -> f64 {
        self.alpha * (self.bare_phi_2() / self.h_eta - 0.5)
    }

    fn bare_phi_2(&self) -> f64 {
        (-self.h_eta).exp_m1() / self.h_eta + 1.0
    }
}

/// An image that the network saw in an earlier step, and the length of that step in half the log-SNR.
pub(super) type Earlier = (Tensor<4>, f64);

/// All steps of a multistep method for the diffusion SDE. Each is of first order, corrected by the images of at most two
/// earlier steps, the latest first, and then gets its noise. `correct` gets the latents, the step, and the image that the
/// network sees now.
pub(super) fn multistep(
    run: SamplerRun<'_>,
    path: NoisePath,
    added: &AddedNoise,
    first_sigma: f64,
    correct: impl Fn(Tensor<4>, &SdeStep, &Tensor<4>, &[Earlier]) -> Tensor<4>,
) -> Result<Tensor<4>, SampleError> {
    let mut noise = added.begin(&run);
    let levels = with_finite_start(path, run.sigmas, first_sigma);
    let mut history: Vec<Earlier> = Vec::new();
    run_steps(run, |step, x| {
        let (sigma, next) = (levels[step.index], step.next);
        let denoised = step.denoised(&x, step.sigma)?;
        if next == 0.0 {
            return Ok(Advanced { latents: denoised.clone(), denoised });
        }
        let numbers = SdeStep::new(path, sigma, next, added.eta);
        let mut latents = correct(numbers.first_order(x, denoised.clone()), &numbers, &denoised, &history);
        if numbers.deviation > 0.0 {
            latents = latents + noise.between(sigma, next) * (numbers.deviation * added.scale);
        }
        history.insert(0, (denoised.clone(), numbers.h));
        history.truncate(2);
        Ok(Advanced { latents, denoised })
    })
}

/// The levels for the formulas of these samplers. A flow that starts at 1, where the log-SNR is infinite, starts at
/// `first_sigma` instead. The network still sees 1.
pub(super) fn with_finite_start(path: NoisePath, sigmas: &Sigmas, first_sigma: f64) -> Vec<f64> {
    let mut levels = sigmas.as_slice().to_vec();
    if path == NoisePath::Flow && levels[0] >= 1.0 {
        // Never below the next level, whatever the settings.
        levels[0] = first_sigma.min(1.0 - f64::EPSILON).max(f64::midpoint(levels[1], 1.0));
    }
    levels
}
