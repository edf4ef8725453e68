//! DPM-Solver++ (multistep) as diffusers writes it.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::order::{LastSteps, SolverOrder, SolverType};
use super::run::{Advanced, run_steps};
use super::towards::towards;
use crate::path::NoisePath;

/// DPM-Solver++ of up to third order from as many steps, one evaluation a step, stepping in half the log-SNR:
/// `DPMSolverMultistepScheduler` of diffusers.
///
/// The third order weighs the curvature with half of what the expansion gives, as diffusers does. Its error is smaller than
/// that of the second order, but falls no faster. The step to zero is of first order. A flow may start at 1, where the
/// log-SNR is infinite. The second step is then of first order as well, which is the limit of the formulas.
///
/// Reference: diffusers `scheduling_dpmsolver_multistep.py` at 58eb52c, `algorithm_type="dpmsolver++"`; arXiv 2211.01095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpmPp2MLogSnr {
    /// What the network was trained on.
    pub path: NoisePath,
    /// Order of the steps, once there are enough of them.
    pub order: SolverOrder,
    /// Form of the second order.
    pub solver: SolverType,
    /// Order of the last two steps.
    pub last_steps: LastSteps,
}

impl DpmPp2MLogSnr {
    /// Second order by the midpoint, as diffusers sets it by default.
    pub fn new(path: NoisePath) -> Self {
        Self { path, order: SolverOrder::Second, solver: SolverType::Midpoint, last_steps: LastSteps::LowerOfFew }
    }

    /// Order of step `index`, to level `next`.
    fn order_of(self, index: usize, num_steps: usize, next: f64) -> SolverOrder {
        /// Runs with fewer steps than this count as short.
        const FEW: usize = 15;
        let short = self.last_steps == LastSteps::LowerOfFew && num_steps < FEW;
        let last = if next == 0.0 || (index + 1 == num_steps && (short || self.last_steps == LastSteps::Euler)) {
            SolverOrder::First
        } else if index + 2 == num_steps && short {
            SolverOrder::Second
        } else {
            SolverOrder::Third
        };
        self.order.min(last).min(SolverOrder::after(index))
    }
}

impl Sampler for DpmPp2MLogSnr {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        // Images of the steps before, the latest first, with their log-SNR.
        let mut history: Vec<(Tensor<4>, f64)> = Vec::new();
        run_steps(run, |step, x| {
            let (sigma, next) = (step.sigma, step.next);
            let denoised = step.denoised(&x, sigma)?;
            let lambda = self.path.half_log_snr(sigma);
            let correction = match self.order_of(step.index, step.num_steps, next) {
                SolverOrder::First => None,
                SolverOrder::Second => Some(self.second_order(&denoised, &history, lambda, next)),
                SolverOrder::Third => Some(self.third_order(&denoised, &history, lambda, next)),
            };
            let first_order = towards(x, denoised.clone(), sigma, next);
            let latents = correction.into_iter().fold(first_order, |x, correction| x + correction);
            history.insert(0, (denoised.clone(), lambda));
            history.truncate(2);
            Ok(Advanced { latents, denoised })
        })
    }
}

impl DpmPp2MLogSnr {
    fn second_order(self, denoised: &Tensor<4>, history: &[(Tensor<4>, f64)], lambda: f64, next: f64) -> Tensor<4> {
        let h = self.path.half_log_snr(next) - lambda;
        let (old, old_lambda) = &history[0];
        let slope = (denoised.clone() - old.clone()) * (h / (lambda - old_lambda));
        let weight = match self.solver {
            SolverType::Midpoint => -0.5 * (-h).exp_m1(),
            SolverType::Heun => (-h).exp_m1() / h + 1.0,
        };
        slope * (self.path.alpha(next) * weight)
    }

    fn third_order(self, denoised: &Tensor<4>, history: &[(Tensor<4>, f64)], lambda: f64, next: f64) -> Tensor<4> {
        let h = self.path.half_log_snr(next) - lambda;
        let ((old, old_lambda), (older, older_lambda)) = (&history[0], &history[1]);
        let ratios = [(lambda - old_lambda) / h, (old_lambda - older_lambda) / h];
        let [slope, curvature] = divided_differences([denoised, old, older], ratios);
        let phi_2 = (-h).exp_m1() / h + 1.0;
        let phi_3 = phi_2 / h - 0.5;
        (slope * phi_2 - curvature * phi_3) * self.path.alpha(next)
    }
}

/// First and second differences of three images, the latest first. `ratios` are the distances between them, as multiples of
/// the coming step.
pub(super) fn divided_differences(images: [&Tensor<4>; 3], ratios: [f64; 2]) -> [Tensor<4>; 2] {
    let [latest, old, older] = images.map(Clone::clone);
    let recent = (latest - old.clone()) / ratios[0];
    let earlier = (old - older) / ratios[1];
    let bend = (recent.clone() - earlier) / (ratios[0] + ratios[1]);
    [recent + bend.clone() * ratios[0], bend]
}
