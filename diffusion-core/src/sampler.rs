//! Samplers: from noise to latents along a velocity field.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use crate::sigmas::Sigmas;

/// A method to integrate `dx/dσ = velocity(x, σ)` from the first sigma to the last.
///
/// A sampler is a value. It keeps all state of a run inside [`sample`](Self::sample), so that one value serves many runs.
///
/// Euler's method as a sampler, along a flow that carries everything to 3:
///
/// ```
/// use std::ops::ControlFlow;
///
/// use burn::tensor::Tensor;
/// use diffusion_core::{Evaluation, SampleError, Sampler, SamplerRun, SamplerStep, Sigmas};
///
/// struct Euler;
///
/// impl Sampler for Euler {
///     fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError> {
///         let (mut x, num_steps) = (run.latents, run.sigmas.num_steps());
///         for (index, sigma, next) in run.sigmas.steps() {
///             let evaluation = Evaluation { latents: x.clone(), sigma, step: index };
///             let velocity = (run.velocity)(evaluation).map_err(SampleError::Velocity)?;
///             let denoised = x.clone() - velocity.clone() * sigma;
///             x = x + velocity * (next - sigma);
///             let step = SamplerStep { index, num_steps, sigma: next, latents: x.clone(), denoised };
///             if (run.on_step)(step).is_break() {
///                 return Err(SampleError::Cancelled { index, num_steps });
///             }
///         }
///         Ok(x)
///     }
/// }
///
/// let sigmas = Sigmas::new(vec![1.0, 0.5, 0.0])?;
/// let end = Euler.sample(SamplerRun {
///     velocity: &mut |at| Ok((at.latents - 3.0) / at.sigma),
///     latents: Tensor::ones([1, 1, 1, 1], &Default::default()),
///     sigmas: &sigmas,
///     on_step: &mut |_| ControlFlow::Continue(()),
/// })?;
/// assert_eq!(end.into_scalar::<f32>(), 3.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Sampler {
    /// Integrate from the first of the run's sigmas to the last, and return the latents there.
    ///
    /// # Errors
    /// [`SampleError::Cancelled`] when `on_step` breaks, [`SampleError::Velocity`] when the velocity fails.
    fn sample(&self, run: SamplerRun<'_>) -> Result<Tensor<4>, SampleError>;
}

/// What a sampler needs for one run.
pub struct SamplerRun<'a> {
    /// Gives the velocity `dx/dσ`, in the shape of the latents. An error ends the run.
    pub velocity: &'a mut dyn FnMut(Evaluation) -> Result<Tensor<4>, VelocityError>,
    /// The latents at the first sigma: `[batch, channels, height, width]`.
    pub latents: Tensor<4>,
    /// The noise levels to visit.
    pub sigmas: &'a Sigmas,
    /// Hears of every finished step, and may cancel the run.
    pub on_step: &'a mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
}

/// One evaluation of the velocity.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The noisy latents, in float 32 and in the shape of the run's latents.
    pub latents: Tensor<4>,
    /// Their exact noise level.
    pub sigma: f64,
    /// Index of the step that needs the velocity, from 0. All evaluations of a step have its index.
    pub step: usize,
}

/// Why a velocity failed: an error of the network's own, which the sampler passes on.
pub type VelocityError = Box<dyn std::error::Error + Send + Sync>;

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
    /// The network's estimate of the image in latents during this step, `x₀ = x - σ velocity`. For previews.
    pub denoised: Tensor<4>,
}

/// Why a sampler stopped early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The caller broke off in its step callback.
    #[error("cancelled after step {} of {num_steps}", index + 1)]
    Cancelled {
        /// Index of the last finished step, from 0.
        index: usize,
        /// Number of steps of the run.
        num_steps: usize,
    },
    /// The velocity failed. The message and the source are those of its own error.
    #[error(transparent)]
    Velocity(VelocityError),
}
