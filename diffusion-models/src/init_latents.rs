//! The latents of an image to start from, and what is kept of it.

use burn::tensor::Tensor;
use diffusion_core::Sigmas;
use diffusion_schedulers::path::NoisePath;

use crate::error::PipelineError;

/// The latents of an image to start from, how far to go from it, and where.
///
/// [`Pipeline::encode_init_image`](crate::Pipeline::encode_init_image) makes them.
#[derive(Clone, Debug)]
pub struct InitLatents {
    /// Latents, `[1, channels, height, width]`.
    pub latents: Tensor<4>,
    /// How far to go, above 0 and at most 1: the share of the steps that are run.
    pub strength: f64,
    /// Where to draw anew, `[1, 1, height, width]` in latent pixels: 1 to draw, 0 to keep; everywhere if not given.
    pub inpaint_mask: Option<Tensor<4>>,
}

impl InitLatents {
    /// The levels that are left of a run: its first steps are left out, the more the smaller the strength.
    ///
    /// Reference: diffusers `pipeline_stable_diffusion_3_img2img.py#L663-L722` at 58eb52c.
    pub(crate) fn remaining(&self, sigmas: &Sigmas) -> Result<Sigmas, PipelineError> {
        let num_steps = sigmas.num_steps() as f64;
        let left_out = (num_steps - (num_steps * self.strength).min(num_steps)).max(0.0) as usize;
        if !(0.0..=1.0).contains(&self.strength) || left_out >= sigmas.num_steps() {
            let expected = format!("a number above 0 and at most 1 that leaves one of {num_steps} steps");
            return Err(PipelineError::setting("strength", expected, self.strength));
        }
        Ok(Sigmas::new(sigmas.as_slice()[left_out..].to_vec())?)
    }

    /// Where a run from here starts, and what it keeps: the image with noise at the level `sigma`, once for each noise.
    pub(crate) fn start(&self, noise: Tensor<4>, path: NoisePath, sigma: f64) -> (Tensor<4>, Option<Inpainting>) {
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
pub(crate) struct Inpainting {
    /// 1 where to draw, 0 where to keep.
    mask: Tensor<4>,
    source: Tensor<4>,
    noise: Tensor<4>,
    path: NoisePath,
}

impl Inpainting {
    /// What the network sees: in the kept area, the source with as much noise as the step has.
    pub(crate) fn seen(&self, latents: Tensor<4>, sigma: f64) -> Tensor<4> {
        let kept = self.path.mix(self.source.clone(), self.noise.clone(), sigma);
        latents * self.mask.clone() + kept * (1.0 - self.mask.clone())
    }

    /// The network's velocity, in the kept area the one that leads to the source.
    pub(crate) fn velocity(&self, drawn: Tensor<4>, latents: Tensor<4>, sigma: f64) -> Tensor<4> {
        let to_source = (latents - self.source.clone()) / sigma;
        drawn * self.mask.clone() + to_source * (1.0 - self.mask.clone())
    }
}
