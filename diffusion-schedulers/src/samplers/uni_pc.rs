//! `UniPC`, a predictor with a corrector that costs nothing.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun, Sigmas};

use super::order::SolverOrder;
use super::run::{Advanced, run_steps};
use super::towards::towards;
use crate::path::NoisePath;

/// Unified predictor-corrector: each evaluation serves the next step and corrects the one before. One evaluation a step,
/// stepping in half the log-SNR: `UniPCMultistepScheduler` of diffusers.
///
/// The last steps are of lower order, as in diffusers by default. The step to zero gives the image itself, also with
/// [`Bh1`](UniPcVariant::Bh1), where the reference gives NaN. A flow that starts at 1, where the log-SNR is infinite, starts
/// a millionth lower in the formulas; the network still sees 1.
///
/// Reference: diffusers `scheduling_unipc_multistep.py` at 58eb52c, `predict_x0=True`; arXiv 2302.04867.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniPc {
    /// What the network was trained on.
    pub path: NoisePath,
    /// Order of the predictor, once there are enough steps; the corrector's is one higher.
    pub order: SolverOrder,
    /// Which function of the step the correction grows with.
    pub variant: UniPcVariant,
}

/// Which function B(h) of the step the corrections of [`UniPc`] grow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniPcVariant {
    /// The step itself. Said to suit few steps without guidance.
    Bh1,
    /// `e^h - 1`, the reference's choice.
    Bh2,
}

impl UniPc {
    /// Second order with `B(h) = e^h - 1`, as diffusers sets it by default.
    pub fn new(path: NoisePath) -> Self {
        Self { path, order: SolverOrder::Second, variant: UniPcVariant::Bh2 }
    }

    /// The levels as the formulas may use them.
    fn levels(self, sigmas: &Sigmas) -> Vec<f64> {
        /// How far from 1 a flow has to start.
        const MARGIN: f64 = 1e-6;
        let mut levels = sigmas.as_slice().to_vec();
        if self.path == NoisePath::Flow && levels[0] > 1.0 - MARGIN {
            // Never below the next level, however close that is.
            levels[0] = (1.0 - MARGIN).max(f64::midpoint(levels[0].min(1.0), levels[1]));
        }
        levels
    }

    /// Order of the predictor of step `index`.
    fn order_of(self, index: usize, num_steps: usize) -> SolverOrder {
        self.order.min(SolverOrder::after(num_steps - index - 1)).min(SolverOrder::after(index))
    }
}

impl Sampler for UniPc {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        let levels = self.levels(run.sigmas);
        // Images of the steps before, the latest first, with their levels.
        let mut history: Vec<(Tensor<4>, f64)> = Vec::new();
        // The start of the step before and its order, for the corrector.
        let mut before: Option<(Tensor<4>, SolverOrder)> = None;
        run_steps(run, |step, x| {
            let (sigma, denoised) = (levels[step.index], step.denoised(&x, step.sigma)?);
            let x = match before.take() {
                Some((start, order)) => self.correct(start, &denoised, &history, sigma, order),
                None => x,
            };
            let order = self.order_of(step.index, step.num_steps);
            history.insert(0, (denoised.clone(), sigma));
            history.truncate(3);
            before = Some((x.clone(), order));
            Ok(Advanced { latents: self.predict(x, &history, step.next, order), denoised })
        })
    }
}

impl UniPc {
    /// From the latest level of the history to `next`.
    fn predict(self, x: Tensor<4>, history: &[(Tensor<4>, f64)], next: f64, order: SolverOrder) -> Tensor<4> {
        let (latest, sigma) = &history[0];
        if next == 0.0 {
            return latest.clone();
        }
        let step = UniPcStep::new(self, history, next, order);
        let weights = match order {
            SolverOrder::First => vec![],
            // The reference takes the limit of the equation for a short step.
            SolverOrder::Second => vec![0.5],
            SolverOrder::Third => step.weights(2),
        };
        let x = towards(x, latest.clone(), *sigma, next);
        step.slopes(history).zip(weights).fold(x, |x, (slope, weight)| x + slope * (weight * step.growth))
    }

    /// Take the step to `sigma` again from its start, with the image that the network sees at its end.
    fn correct(
        self,
        start: Tensor<4>,
        denoised: &Tensor<4>,
        history: &[(Tensor<4>, f64)],
        sigma: f64,
        order: SolverOrder,
    ) -> Tensor<4> {
        let (latest, from) = &history[0];
        let step = UniPcStep::new(self, history, sigma, order);
        let weights = if order == SolverOrder::First { vec![0.5] } else { step.weights(order as usize) };
        let x = towards(start, latest.clone(), *from, sigma);
        let slopes = step.slopes(history).chain([denoised.clone() - latest.clone()]);
        slopes.zip(weights).fold(x, |x, (slope, weight)| x + slope * (weight * step.growth))
    }
}

/// The numbers of one step: the places of the known images, and the order conditions.
struct UniPcStep {
    /// Distances of the earlier images as multiples of the step, then 1 for the end of the step.
    ratios: Vec<f64>,
    /// Right sides of the order conditions.
    conditions: Vec<f64>,
    /// `-α B(h)`, the factor of all corrections.
    growth: f64,
}

impl UniPcStep {
    fn new(solver: UniPc, history: &[(Tensor<4>, f64)], next: f64, order: SolverOrder) -> Self {
        let lambda = |sigma: f64| solver.path.half_log_snr(sigma);
        let from = lambda(history[0].1);
        let h = lambda(next) - from;
        let earlier = history[1..order as usize].iter().map(|&(_, sigma)| (lambda(sigma) - from) / h);
        let b = match solver.variant {
            UniPcVariant::Bh1 => -h,
            UniPcVariant::Bh2 => (-h).exp_m1(),
        };
        let mut conditions = Vec::new();
        let (mut phi, mut factorial) = ((-h).exp_m1() / -h - 1.0, 1.0);
        for i in 1..=order as usize {
            conditions.push(phi * factorial / b);
            factorial *= (i + 1) as f64;
            phi = phi / -h - 1.0 / factorial;
        }
        Self { ratios: earlier.chain([1.0]).collect(), conditions, growth: -solver.path.alpha(next) * b }
    }

    /// Slopes of the image from the latest level to the earlier ones.
    fn slopes(&self, history: &[(Tensor<4>, f64)]) -> impl Iterator<Item = Tensor<4>> {
        let latest = history[0].0.clone();
        let earlier = self.ratios[..self.ratios.len() - 1].iter().zip(&history[1..]);
        earlier.map(move |(&ratio, (image, _))| (image.clone() - latest.clone()) / ratio)
    }

    /// The weights of the first `count` slopes that meet the first `count` order conditions: `Σ_k ratio_k^i weight_k = b_i`.
    fn weights(&self, count: usize) -> Vec<f64> {
        let mut rows: Vec<Vec<f64>> = (0..count)
            .map(|i| self.ratios[..count].iter().map(|ratio| ratio.powi(i as i32)).chain([self.conditions[i]]).collect())
            .collect();
        // Gauss-Jordan; the ratios differ, and the first row is all ones, so no pivot is zero.
        for pivot in 0..count {
            let pivot_row: Vec<f64> = rows[pivot].iter().map(|value| value / rows[pivot][pivot]).collect();
            for (i, row) in rows.iter_mut().enumerate() {
                let factor = row[pivot];
                if i == pivot {
                    row.clone_from(&pivot_row);
                } else {
                    row.iter_mut().zip(&pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
                }
            }
        }
        rows.iter().map(|row| row[count]).collect()
    }
}
