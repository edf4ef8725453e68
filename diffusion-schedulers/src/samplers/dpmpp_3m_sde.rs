//! DPM-Solver++ (3M SDE).

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::AddedNoise;
use super::dpmpp_2m_log_snr::divided_differences;
use super::sde_step::multistep;
use crate::path::NoisePath;

/// DPM-Solver++ with the slope and the curvature of three steps of the diffusion SDE, one evaluation a step.
///
/// Without noise (eta 0) it is [`DpmPp2MLogSnr`](super::DpmPp2MLogSnr) of third order by Heun's form. The third order of
/// diffusers' `sde-dpmsolver++` differs in a sign, with which its correction does not vanish for short steps.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L871` at a125cd8.
#[derive(Clone, Debug)]
pub struct DpmPp3MSde {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The noise; the reference draws it from a [`BrownianTree`](diffusion_core::noise::BrownianTree).
    pub noise: AddedNoise,
    /// Stands for 1 in the formulas of a flow that starts there: 0.9999 moved by the model's shift in the reference.
    pub first_sigma: f64,
}

impl DpmPp3MSde {
    /// The settings of the reference, for a flow without shift.
    pub fn new(path: NoisePath, noise: AddedNoise) -> Self {
        Self { path, noise, first_sigma: 0.9999 }
    }
}

impl Sampler for DpmPp3MSde {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        multistep(run, self.path, &self.noise, self.first_sigma, |x, step, denoised, history| match history {
            [(old, old_h), (older, older_h)] => {
                let ratios = [old_h / step.h, older_h / step.h];
                let [slope, curvature] = divided_differences([denoised, old, older], ratios);
                x + slope * step.phi_2() - curvature * step.phi_3()
            }
            [(old, old_h)] => x + (denoised.clone() - old.clone()) * (step.phi_2() * step.h / old_h),
            _ => x,
        })
    }
}
