//! Samplers: from noise to latents along a velocity field.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use crate::sigmas::Sigmas;

/// A method to integrate `dx/dσ = velocity(x, σ)` from the first sigma to the last.
///
/// A sampler is a value: all state of a run is inside [`sample`](Self::sample), so that one value serves many runs.
pub trait Sampler {
    /// Integrate from `sigmas[0]` to the last sigma.
    ///
    /// `velocity` is asked with float latents of the shape of `latents` and the exact sigma. `on_step` hears of every
    /// finished step and may cancel the run.
    ///
    /// # Errors
    /// [`SampleError::Cancelled`] when `on_step` breaks.
    fn sample(
        &self,
        velocity: &mut dyn FnMut(Tensor<4>, f64) -> Tensor<4>,
        latents: Tensor<4>,
        sigmas: &Sigmas,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, SampleError>;
}

/// A finished step of a sampler.
#[derive(Clone, Debug)]
pub struct SamplerStep {
    /// Index of the step, from 0.
    pub index: usize,
    /// Number of steps of the run.
    pub num_steps: usize,
    /// Noise level that the latents have now.
    pub sigma: f64,
    /// The latents after this step.
    pub latents: Tensor<4>,
    /// The picture (in latents) that the network believed in during this step: `x₀ = x - σ velocity`. For previews.
    pub denoised: Tensor<4>,
}

/// Why a sampler stopped early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The caller broke off in its step callback.
    #[error("cancelled after step {} of {num_steps}", index + 1)]
    Cancelled {
        /// Index of the last finished step, from 0.
        index: usize,
        /// Number of steps of the run.
        num_steps: usize,
    },
}
