//! Noise that stochastic samplers add.

use std::sync::Arc;

use burn::tensor::Tensor;
use diffusion_core::noise::{NoiseSource, NoiseStream};
use diffusion_core::{SampleError, SamplerRun};

use super::run::{Advanced, Step, run_steps};
use super::towards::towards;
use crate::path::NoisePath;

/// The noise that a sampler adds after each step: its source and its amount.
#[derive(Clone, Debug)]
pub struct AddedNoise {
    /// The source of the numbers.
    pub source: Arc<dyn NoiseSource>,
    /// Share of the noise to replace, η: 0 for none, which makes the sampler deterministic, 1 for all that the stochastic
    /// differential equation asks for.
    pub eta: f64,
    /// Factor on the added noise, `s_noise` in other programs. 1 keeps the noise level right.
    pub scale: f64,
}

impl AddedNoise {
    /// Replace all the noise, with numbers from this source.
    pub fn new(source: impl NoiseSource + 'static) -> Self {
        Self { source: Arc::new(source), eta: 1.0, scale: 1.0 }
    }

    /// The same noise with another share.
    pub fn with_eta(self, eta: f64) -> Self {
        Self { eta, ..self }
    }

    /// Begin the noise of one run.
    pub(super) fn begin(&self, run: &SamplerRun<'_>) -> Box<dyn NoiseStream> {
        self.source.begin(run.latents.dims(), run.sigmas, &run.latents.device())
    }
}

/// All steps of an ancestral method: down towards `target`, then up again by noise. `target` gets the step, the latents at
/// its start, the image that the network sees in them, and the level to go down to.
pub(super) fn ancestral_steps(
    run: SamplerRun<'_>,
    path: NoisePath,
    added: &AddedNoise,
    target: impl Fn(&mut Step<'_>, &Tensor<4>, Tensor<4>, f64) -> Result<Tensor<4>, SampleError>,
) -> Result<Tensor<4>, SampleError> {
    let mut noise = added.begin(&run);
    run_steps(run, |step, x| {
        let (sigma, next) = (step.sigma, step.next);
        let denoised = step.denoised(&x, sigma)?;
        let split = AncestralStep::new(path, sigma, next, added.eta);
        let target = target(step, &x, denoised.clone(), split.down)?;
        let low = towards(x, target, sigma, split.down);
        Ok(Advanced { latents: split.renoise(low, &mut || noise.between(sigma, next), added.scale), denoised })
    })
}

/// A step with noise in two halves: go down to a lower level without noise, then scale and add noise up to the right one.
pub(super) struct AncestralStep {
    /// The level to go down to.
    pub(super) down: f64,
    /// Factor on the latents at that level.
    pub(super) kept: f64,
    /// Deviation of the noise to add to them.
    pub(super) up: f64,
}

impl AncestralStep {
    /// The split of a step, replacing the share `eta` of the noise.
    pub(super) fn new(path: NoisePath, sigma: f64, next: f64, eta: f64) -> Self {
        match path {
            NoisePath::Flow => Self::flow(sigma, next, eta),
            NoisePath::VarianceExploding => Self::exploding(sigma, next, eta),
        }
    }

    /// The split on the variance-exploding path.
    ///
    /// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L65` at a125cd8 (`get_ancestral_step`).
    pub(super) fn exploding(sigma: f64, next: f64, eta: f64) -> Self {
        let up = (eta * next * (1.0 - (next / sigma).powi(2)).max(0.0).sqrt()).min(next);
        Self { down: (next * next - up * up).sqrt(), kept: 1.0, up }
    }

    /// The split on the flow.
    ///
    /// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L249` at a125cd8 (`sample_euler_ancestral_RF`).
    fn flow(sigma: f64, next: f64, eta: f64) -> Self {
        let down = (next * (1.0 + (next / sigma - 1.0) * eta)).max(0.0);
        let kept = (1.0 - next) / (1.0 - down);
        Self { down, kept, up: (next * next - (down * kept).powi(2)).max(0.0).sqrt() }
    }

    /// The second half: scale, and add noise.
    pub(super) fn renoise(&self, x: Tensor<4>, noise: &mut dyn FnMut() -> Tensor<4>, scale: f64) -> Tensor<4> {
        if self.up > 0.0 { x * self.kept + noise() * (self.up * scale) } else { x * self.kept }
    }
}
