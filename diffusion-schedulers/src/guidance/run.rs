//! The guidance of one run.

use burn::tensor::Tensor;

use super::adaptive_projected::{AdaptiveProjectedGuidance, AdaptiveProjectedRun};
use super::classifier_free::classifier_free;
use super::method::{Guidance, GuidanceMethod};
use super::zero_star::CfgZeroStar;

/// The guidance of one run: a formula, its scale, and what it remembers from step to step.
#[derive(Debug)]
pub struct GuidanceRun {
    guidance: Guidance,
    scale: f64,
    /// The past of adaptive projected guidance, from its first use on.
    projected: Option<AdaptiveProjectedRun>,
}

impl Guidance {
    /// Begin a run with this scale.
    pub fn begin(&self, scale: f64) -> GuidanceRun {
        GuidanceRun { guidance: self.clone(), scale, projected: None }
    }
}

impl GuidanceRun {
    /// Whether the step of this index, from 0, leaves the latents where they are.
    pub fn is_zero_step(&self, index: usize) -> bool {
        match self.guidance.method {
            GuidanceMethod::ZeroStar { zero_steps } => CfgZeroStar { scale: self.scale, zero_steps }.is_zero_step(index),
            _ => false,
        }
    }

    /// Whether to guide at this noise level.
    pub fn applies_to(&self, sigma: f64) -> bool {
        self.guidance.interval.is_none_or(|interval| interval.applies_to(sigma))
    }

    /// The guided velocity of `latents` at the noise level `sigma`.
    ///
    /// # Shapes
    /// - latents, both velocities, result: `[batch, channels, height, width]`
    pub fn combine(&mut self, latents: Tensor<4>, sigma: f64, conditional: Tensor<4>, unconditional: Tensor<4>) -> Tensor<4> {
        let scale = self.scale;
        match self.guidance.method {
            GuidanceMethod::ClassifierFree => classifier_free(conditional, unconditional, scale),
            GuidanceMethod::ZeroStar { zero_steps } => CfgZeroStar { scale, zero_steps }.apply(conditional, unconditional),
            GuidanceMethod::AdaptiveProjected { eta, norm_threshold, momentum } => {
                let guidance = AdaptiveProjectedGuidance { scale, eta, norm_threshold, momentum };
                let run = self.projected.get_or_insert_with(|| guidance.begin());
                run.apply(latents, sigma, conditional, unconditional)
            }
        }
    }
}
