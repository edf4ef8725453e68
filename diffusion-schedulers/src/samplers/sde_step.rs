//! What the samplers of the stochastic differential equation share.

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, Sigmas};

use super::added_noise::AddedNoise;
use super::run::Run;
use crate::path::NoisePath;

/// The numbers of one exponential step of the diffusion SDE from data predictions.
pub(super) struct SdeStep {
    /// Step in half the log-SNR.
    pub(super) h: f64,
    /// The same, lengthened by the share of noise that is replaced.
    h_eta: f64,
    /// Share of the picture at the next level.
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

    /// The step for a picture that does not change.
    pub(super) fn first_order(&self, x: Tensor<4>, denoised: Tensor<4>) -> Tensor<4> {
        x * self.kept + denoised * (-self.alpha * (-self.h_eta).exp_m1())
    }

    /// Weight of the picture's slope by the midpoint.
    pub(super) fn midpoint(&self) -> f64 {
        -0.5 * self.alpha * (-self.h_eta).exp_m1()
    }

    /// Exact weight of the picture's slope.
    pub(super) fn phi_2(&self) -> f64 {
        self.alpha * self.bare_phi_2()
    }

    /// Exact weight of the picture's curvature, to be subtracted.
    pub(super) fn phi_3(&self) -> f64 {
        self.alpha * (self.bare_phi_2() / self.h_eta - 0.5)
    }

    fn bare_phi_2(&self) -> f64 {
        (-self.h_eta).exp_m1() / self.h_eta + 1.0
    }
}

/// A picture that the network saw in an earlier step, and how long that step was in half the log-SNR.
pub(super) type Earlier = (Tensor<4>, f64);

/// All steps of a multistep method for the diffusion SDE: each of first order, corrected by the pictures of at most two earlier
/// steps, the latest first, with noise added. `correct` gets the latents, the step, and what the network sees now.
pub(super) fn multistep(
    mut run: Run,
    latents: Tensor<4>,
    sigmas: &Sigmas,
    path: NoisePath,
    added: &AddedNoise,
    first_sigma: f64,
    correct: impl Fn(Tensor<4>, &SdeStep, &Tensor<4>, &[Earlier]) -> Tensor<4>,
) -> Result<Tensor<4>, SampleError> {
    let mut x = latents.cast(DType::F32);
    let mut noise = added.begin(&x, sigmas);
    let levels = with_finite_start(path, sigmas, first_sigma);
    let mut history: Vec<Earlier> = Vec::new();
    for (index, exact, next) in sigmas.steps() {
        let denoised = run.denoised(&x, exact);
        if next == 0.0 {
            x = denoised.clone();
        } else {
            let step = SdeStep::new(path, levels[index], next, added.eta);
            x = correct(step.first_order(x, denoised.clone()), &step, &denoised, &history);
            if step.deviation > 0.0 {
                x = x + noise.between(levels[index], next) * (step.deviation * added.scale);
            }
            history.insert(0, (denoised.clone(), step.h));
            history.truncate(2);
        }
        run.finish(index, next, &x, denoised)?;
    }
    Ok(x)
}

/// The levels as the formulas of these samplers may use them: a flow that starts at 1, where the log-SNR is infinite, starts
/// at `first_sigma` instead. The network still sees 1.
pub(super) fn with_finite_start(path: NoisePath, sigmas: &Sigmas, first_sigma: f64) -> Vec<f64> {
    let mut levels = sigmas.as_slice().to_vec();
    if path == NoisePath::Flow && levels[0] >= 1.0 {
        // Never below the next level, whatever the settings.
        levels[0] = first_sigma.min(1.0 - f64::EPSILON).max(f64::midpoint(levels[1], 1.0));
    }
    levels
}
