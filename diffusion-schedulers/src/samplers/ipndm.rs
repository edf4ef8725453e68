//! Improved pseudo linear multistep.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use diffusion_core::{SampleError, Sampler, SamplerStep, Sigmas};

use super::run::Run;

/// Adams-Bashforth over the velocities of up to four steps, one evaluation a step. Its weights are those of equal steps,
/// whatever the levels.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L1079` at a125cd8; arXiv 2204.13902 (iPNDM), 2202.09778.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ipndm;

/// Weights of the velocities, the latest first, for one to four of them.
const WEIGHTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

impl Sampler for Ipndm {
    fn sample(
        &self,
        velocity: &mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, SampleError> {
        let mut run = Run::new(velocity, sigmas, on_step);
        let mut x = latents.cast(DType::F32);
        let mut velocities: Vec<Tensor<4>> = Vec::new();
        for (index, sigma, next) in sigmas.steps() {
            let v = run.velocity(&x, sigma);
            let denoised = x.clone() - v.clone() * sigma;
            velocities.insert(0, v);
            velocities.truncate(WEIGHTS.len());
            x = if next == 0.0 {
                denoised.clone()
            } else {
                let weights = WEIGHTS[velocities.len() - 1];
                velocities.iter().zip(weights).fold(x, |x, (v, weight)| x + v.clone() * (weight * (next - sigma)))
            };
            run.finish(index, next, &x, denoised)?;
        }
        Ok(x)
    }
}
