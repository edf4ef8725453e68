//! DPM-Solver++ (SDE).

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, Sampler, SamplerStep, Sigmas};

use super::added_noise::{AddedNoise, AncestralStep};
use super::run::Run;
use super::sde_step::with_finite_start;
use crate::path::NoisePath;

/// DPM-Solver++ of second order from one step of the diffusion SDE. Two evaluations a step, one for a step to zero.
///
/// It needs noise by level, from a [`BrownianTree`](diffusion_core::noise::BrownianTree): both evaluations of a step see noise,
/// of which one's is a part of the other's. With independent draws pictures lose variance.
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

    /// The step of first order from `sigma` to `target`, less the noise that is then to be added: its deviation.
    fn step(&self, x: Tensor<4>, denoised: Tensor<4>, sigma: f64, target: f64) -> (Tensor<4>, f64) {
        let unscaled = |sigma: f64| (-self.path.half_log_snr(sigma)).exp();
        let split = AncestralStep::exploding(unscaled(sigma), unscaled(target), self.noise.eta);
        let (alpha, kept) = (self.path.alpha(target), split.down / unscaled(sigma));
        let x = x * (alpha / self.path.alpha(sigma) * kept) + denoised * (alpha * (1.0 - kept));
        (x, alpha * split.up * self.noise.scale)
    }
}

impl Sampler for DpmPpSde {
    fn sample(
        &self,
        velocity: &mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, SampleError> {
        let mut run = Run::new(velocity, sigmas, on_step);
        let mut x = latents.cast(DType::F32);
        let mut noise = self.noise.begin(&x, sigmas);
        let levels = with_finite_start(self.path, sigmas, self.first_sigma);
        let mut add = |x: Tensor<4>, deviation: f64, from: f64, to: f64| {
            if deviation > 0.0 { x + noise.between(from, to) * deviation } else { x }
        };
        for (index, exact, next) in sigmas.steps() {
            let denoised = run.denoised(&x, exact);
            x = if next == 0.0 {
                denoised.clone()
            } else {
                let sigma = levels[index];
                let lambda = self.path.half_log_snr(sigma);
                let middle = self.path.sigma_at(lambda + self.middle * (self.path.half_log_snr(next) - lambda));
                let (half, deviation) = self.step(x.clone(), denoised.clone(), sigma, middle);
                let half = add(half, deviation, sigma, middle);
                let share = 0.5 / self.middle;
                let target = denoised.clone() * (1.0 - share) + run.denoised(&half, middle) * share;
                let (whole, deviation) = self.step(x, target, sigma, next);
                add(whole, deviation, sigma, next)
            };
            run.finish(index, next, &x, denoised)?;
        }
        Ok(x)
    }
}
