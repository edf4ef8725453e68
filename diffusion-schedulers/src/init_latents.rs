//! The latents of an image to start from, and what is preserved of it.

use burn::tensor::Tensor;
use diffusion_core::{SettingError, Sigmas};

use crate::path::NoisePath;

/// The latents of an image to start from, how far to go from it, and where.
///
/// A pipeline makes them of the image.
#[derive(Clone, Debug)]
pub struct InitLatents {
    /// Latents, `[1, channels, height, width]`.
    pub latents: Tensor<4>,
    /// How far to go, above 0 and at most 1: the share of the steps that are run.
    pub strength: f64,
    /// The inpaint mask, `[1, 1, height, width]` in latent pixels: 1 to regenerate, 0 to preserve; all 1 if not given.
    pub inpaint_mask: Option<Tensor<4>>,
}

impl InitLatents {
    /// The levels that are left of a run: its first steps are left out, the more the smaller the strength.
    ///
    /// Reference: diffusers `pipeline_stable_diffusion_3_img2img.py#L663-L722` at 58eb52c.
    ///
    /// # Errors
    /// [`SettingError`] if the strength is out of its range, or leaves no step.
    pub fn remaining(&self, sigmas: &Sigmas) -> Result<Sigmas, SettingError> {
        Self::remaining_of(sigmas, self.strength)
    }

    /// As [`remaining`](Self::remaining), before there are latents.
    ///
    /// # Errors
    /// As [`remaining`](Self::remaining).
    pub fn remaining_of(sigmas: &Sigmas, strength: f64) -> Result<Sigmas, SettingError> {
        let num_steps = sigmas.num_steps() as f64;
        let left_out = (num_steps - (num_steps * strength).min(num_steps)).max(0.0) as usize;
        let remaining = sigmas.without_first(left_out).filter(|_| strength > 0.0 && strength <= 1.0);
        let expected = || format!("a number above 0, at most 1, that leaves one of {num_steps} steps");
        remaining.ok_or_else(|| SettingError::new("strength", expected(), strength))
    }

    /// Where a run from here starts, and what it preserves: the image with noise at the level `sigma`, once for each noise.
    ///
    /// # Shapes
    /// - noise and result: `[batch, channels, height, width]`
    pub fn start(&self, noise: Tensor<4>, path: NoisePath, sigma: f64) -> (Tensor<4>, Option<Inpainting>) {
        let [batch, ..] = noise.dims();
        let repeated = |tensor: &Tensor<4>| tensor.clone().repeat_dim(0, batch);
        let source = repeated(&self.latents);
        let start = path.mix(source.clone(), noise.clone(), sigma);
        (start, self.inpaint_mask.as_ref().map(|mask| Inpainting { mask: repeated(mask), source, noise, path }))
    }
}

/// Holds a part of the latents on the way from noise to the source, whatever the sampler.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`KSamplerX0Inpaint`).
#[derive(Clone, Debug)]
pub struct Inpainting {
    /// 1 where to regenerate, 0 where to preserve.
    mask: Tensor<4>,
    source: Tensor<4>,
    noise: Tensor<4>,
    path: NoisePath,
}

impl Inpainting {
    /// What the network sees: where the source is preserved, that source with as much noise as the step has.
    pub fn seen(&self, latents: Tensor<4>, sigma: f64) -> Tensor<4> {
        let preserved = self.path.mix(self.source.clone(), self.noise.clone(), sigma);
        latents * self.mask.clone() + preserved * (1.0 - self.mask.clone())
    }

    /// The network's velocity, or the one that leads to the source where that is preserved.
    pub fn velocity(&self, regenerated: Tensor<4>, latents: Tensor<4>, sigma: f64) -> Tensor<4> {
        let to_source = (latents - self.source.clone()) / sigma;
        regenerated * self.mask.clone() + to_source * (1.0 - self.mask.clone())
    }
}
