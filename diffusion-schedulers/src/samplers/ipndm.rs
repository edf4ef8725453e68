//! Improved pseudo linear multistep.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::run::{Advanced, run_steps};

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
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        let mut velocities: Vec<Tensor<4>> = Vec::new();
        run_steps(run, |step, x| {
            let v = step.velocity(&x, step.sigma)?;
            let denoised = x.clone() - v.clone() * step.sigma;
            velocities.insert(0, v);
            velocities.truncate(WEIGHTS.len());
            if step.next == 0.0 {
                return Ok(Advanced { latents: denoised.clone(), denoised });
            }
            let (weights, length) = (WEIGHTS[velocities.len() - 1], step.next - step.sigma);
            let latents = velocities.iter().zip(weights).fold(x, |x, (v, weight)| x + v.clone() * (weight * length));
            Ok(Advanced { latents, denoised })
        })
    }
}
