//! DDIM.

use burn::tensor::Tensor;
use diffusion_core::{SampleError, Sampler, SamplerRun};

use super::added_noise::AddedNoise;
use super::run::{Advanced, run_steps};
use crate::path::NoisePath;

/// Denoising diffusion implicit models: mix the image that the network sees with the noise that it sees and with fresh noise.
/// One evaluation a step.
///
/// Without fresh noise and without clipping it is [`Euler`](super::Euler), up to rounding.
///
/// Reference: diffusers `scheduling_ddim.py#L384` at 58eb52c; arXiv 2010.02502, equations 12 and 16, here on either path.
#[derive(Clone, Debug)]
pub struct Ddim {
    /// What the network was trained on.
    pub path: NoisePath,
    /// The fresh noise, for eta above 0; `None` for the deterministic sampler.
    pub noise: Option<AddedNoise>,
    /// Largest absolute value that the image may have, for networks that work on pixels in [-1, 1].
    pub clip: Option<f64>,
}

impl Ddim {
    /// The deterministic sampler without clipping.
    pub fn new(path: NoisePath) -> Self {
        Self { path, noise: None, clip: None }
    }
}

/// Deviation of the noise that a full step of the SDE replaces (equation 16 with η = 1).
fn full_deviation(path: NoisePath, sigma: f64, next: f64) -> f64 {
    let kept = next * path.alpha(sigma) / (sigma * path.alpha(next));
    next * (1.0 - kept * kept).max(0.0).sqrt()
}

impl Sampler for Ddim {
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
        let mut fresh_noise = self.noise.as_ref().map(|noise| (noise, noise.begin(&run)));
        run_steps(run, |step, x| {
            let (sigma, next) = (step.sigma, step.next);
            let v = step.velocity(&x, sigma)?;
            let mut denoised = x.clone() - v.clone() * sigma;
            if let Some(limit) = self.clip {
                denoised = denoised.clamp(-limit, limit);
            }
            let seen = self.path.noise_of(x, v, sigma);
            let eta = self.noise.as_ref().map_or(0.0, |noise| noise.eta);
            let fresh = (eta * full_deviation(self.path, sigma, next)).min(next);
            let mut latents = denoised.clone() * self.path.alpha(next) + seen * (next * next - fresh * fresh).sqrt();
            if let (Some((noise, stream)), true) = (&mut fresh_noise, fresh > 0.0) {
                latents = latents + stream.between(sigma, next) * (fresh * noise.scale);
            }
            Ok(Advanced { latents, denoised })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variance_preserving::VariancePreserving;

    /// Goldens of diffusers `tests/schedulers/test_scheduler_ddim.py#L107`: the square of the deviation, in the variables that
    /// preserve the variance.
    #[test]
    fn variance_is_that_of_the_reference() {
        let model = VariancePreserving::linear(0.0001, 0.02, 1000).unwrap();
        for (timestep, previous, expected) in [(420, 400, 0.14771), (980, 960, 0.32460), (487, 486, 0.00979), (999, 998, 0.02)] {
            let levels = [timestep, previous].map(|timestep| model.sigma(f64::from(timestep)));
            let deviation = full_deviation(NoisePath::VarianceExploding, levels[0], levels[1]);
            let variance = deviation.powi(2) / (1.0 + levels[1].powi(2));
            assert!((variance - expected).abs() < 1e-5, "{timestep}: {variance} {expected}");
        }
    }
}
