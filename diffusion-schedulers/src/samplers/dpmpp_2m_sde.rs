//! DPM-Solver++ (2M SDE).

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::AddedNoise;
use super::order::SolverType;
use super::sde_step::multistep;
use crate::path::NoisePath;

/// DPM-Solver++ of second order from two steps of the diffusion SDE, one evaluation a step.
///
/// Without noise (eta 0) it is [`DpmPp2MLogSnr`](super::DpmPp2MLogSnr) of second order.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L812` at a125cd8; diffusers' `sde-dpmsolver++` gives the same steps.
#[derive(Clone, Debug)]
pub struct DpmPp2MSde {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The noise; the reference draws it from a [`BrownianTree`](diffusion_core::noise::BrownianTree).
    pub noise: AddedNoise,
    /// Form of the second order.
    pub solver: SolverType,
    /// Stands for 1 in the formulas of a flow that starts there: 0.9999 moved by the model's shift in the reference.
    pub first_sigma: f64,
}

impl DpmPp2MSde {
    /// The settings of the reference, for a flow without shift.
    pub fn new(path: NoisePath, noise: AddedNoise) -> Self {
        Self { path, noise, solver: SolverType::Midpoint, first_sigma: 0.9999 }
    }
}

impl Sampler for DpmPp2MSde {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        multistep(run, self.path, &self.noise, self.first_sigma, |x, step, denoised, history| {
            let Some((old, old_h)) = history.first() else { return x };
            let weight = match self.solver {
                SolverType::Midpoint => step.midpoint(),
                SolverType::Heun => step.phi_2(),
            };
            x + (denoised.clone() - old.clone()) * (weight * step.h / old_h)
        })
    }
}
