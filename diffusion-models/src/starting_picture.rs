//! Pictures to start from, whole or in part.

use burn::tensor::Tensor;
use diffusion_core::Sigmas;
use diffusion_schedulers::path::NoisePath;

use crate::error::PipelineError;

/// A picture to start from, how far to go from it, and where.
///
/// [`Pipeline::starting_picture`](crate::Pipeline::starting_picture) makes one.
#[derive(Clone, Debug)]
pub struct StartingPicture {
    /// Its latents, `[1, channels, height, width]`.
    pub latents: Tensor<4>,
    /// How far to go, above 0 and at most 1: the share of the steps that are run.
    pub strength: f64,
    /// Where to draw anew, `[1, 1, height, width]` in latent cells: 1 to repaint, 0 to keep; everywhere if not given.
    pub repaint: Option<Tensor<4>>,
}

impl StartingPicture {
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

    /// The same for every picture of a batch.
    pub(crate) fn repeated(&self, batch: usize) -> Self {
        let repeat = |tensor: &Tensor<4>| tensor.clone().repeat_dim(0, batch);
        Self { latents: repeat(&self.latents), repaint: self.repaint.as_ref().map(repeat), ..*self }
    }

    /// The kept area of a run with this noise, if there is one.
    pub(crate) fn kept_area(self, noise: Tensor<4>) -> Option<KeptArea> {
        let Self { latents, repaint, .. } = self;
        Some(KeptArea { repaint: repaint?, source: latents, noise })
    }
}

/// Holds a part of the latents on the straight way from noise to the source, whatever the sampler.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`KSamplerX0Inpaint`).
pub(crate) struct KeptArea {
    repaint: Tensor<4>,
    source: Tensor<4>,
    noise: Tensor<4>,
}

impl KeptArea {
    /// What the network sees: in the kept area, the source with as much noise as the step has.
    pub(crate) fn seen(&self, latents: Tensor<4>, sigma: f64) -> Tensor<4> {
        let kept = NoisePath::Flow.mix(self.source.clone(), self.noise.clone(), sigma);
        latents * self.repaint.clone() + kept * (1.0 - self.repaint.clone())
    }

    /// The network's velocity, in the kept area the one that leads to the source.
    pub(crate) fn velocity(&self, answer: Tensor<4>, latents: Tensor<4>, sigma: f64) -> Tensor<4> {
        let to_source = (latents - self.source.clone()) / sigma;
        answer * self.repaint.clone() + to_source * (1.0 - self.repaint.clone())
    }
}
