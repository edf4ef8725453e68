//! Noise that stochastic samplers add.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use diffusion_core::noise::{NoiseSource, NoiseStream};
use diffusion_core::{SampleError, Sigmas};

use super::run::{Run, towards};
use crate::path::NoisePath;

/// The noise that a sampler adds after each step: how much, and whose.
#[derive(Clone, Debug)]
pub struct AddedNoise {
    /// Where the numbers come from.
    pub source: Arc<dyn NoiseSource>,
    /// Share of the noise that is replaced: 0 for none, which leaves a deterministic sampler, 1 for all that the stochastic
    /// differential equation asks for.
    pub eta: f64,
    /// Factor on the added noise, 1 to keep the noise level right; `s_noise` in other programs.
    pub scale: f64,
}

impl AddedNoise {
    /// All the noise of this source, in full.
    pub fn new(source: impl NoiseSource + 'static) -> Self {
        Self { source: Arc::new(source), eta: 1.0, scale: 1.0 }
    }

    /// Another share.
    pub fn with_eta(self, eta: f64) -> Self {
        Self { eta, ..self }
    }

    /// Begin the noise of one run.
    pub(super) fn begin(&self, x: &Tensor<4>, sigmas: &Sigmas) -> Box<dyn NoiseStream> {
        self.source.begin(x.dims(), sigmas, &x.device())
    }
}

/// All steps of an ancestral method: down towards `target`, then up again by noise. `target` is told where the run is, what
/// the network sees there, and the levels to go down from and to.
pub(super) fn ancestral_steps(
    mut run: Run,
    latents: Tensor<4>,
    sigmas: &Sigmas,
    path: NoisePath,
    added: &AddedNoise,
    target: impl Fn(&mut Run, &Tensor<4>, Tensor<4>, [f64; 2]) -> Tensor<4>,
) -> Result<Tensor<4>, SampleError> {
    let mut x = latents.cast(DType::F32);
    let mut noise = added.begin(&x, sigmas);
    for (index, sigma, next) in sigmas.steps() {
        let denoised = run.denoised(&x, sigma);
        let split = AncestralStep::new(path, sigma, next, added.eta);
        let target = target(&mut run, &x, denoised.clone(), [sigma, split.down]);
        x = towards(x, target, sigma, split.down);
        x = split.renoise(x, &mut || noise.between(sigma, next), added.scale);
        run.finish(index, next, &x, denoised)?;
    }
    Ok(x)
}

/// A step with noise taken apart: go down to a lower level without noise, then scale and add noise to be at the right one.
pub(super) struct AncestralStep {
    /// The level to go down to.
    pub(super) down: f64,
    /// What the latents are scaled by then.
    pub(super) kept: f64,
    /// Deviation of the noise to add then.
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
