//! Denoising networks behind a box.

use std::any::Any;
use std::fmt::Debug;

use burn::tensor::Tensor;

#[cfg(feature = "autodiff")]
use super::block_gradients::{BlockGradients, GradientOptions, TrainedParameters};
use super::block_network::{self, BlockHook, BlockNetwork};
use super::captured_blocks::NotCaptured;
use super::conditioning::Conditioning;
use super::denoiser_input::DenoiserInput;
use super::modulations::Modulations;
use crate::checkpoint::CheckpointError;
use crate::weights::{LoadedNetwork, PatchMode, WeightPatches};

/// A denoising network: a field of velocities.
///
/// Every [`BlockNetwork`] that was loaded is one. With `x = (1 - σ) x₀ + σ ε`, the velocity is `dx/dσ = (x - x₀) / σ`, so
/// `x₀ = x - σ velocity`, and no sampler divides by a small σ.
pub trait Denoiser: Any + Debug + Send {
    /// The velocity of noisy latents, without the blocks in `skipped_blocks`; `hook` hears of every block.
    ///
    /// # Shapes
    /// - result: as the latents, in f32
    /// # Errors
    /// [`CheckpointError`] if the network's file was written to since it was opened.
    fn velocity(
        &self,
        input: &DenoiserInput<'_>,
        skipped_blocks: &[usize],
        hook: &mut dyn BlockHook,
    ) -> Result<Tensor<4>, CheckpointError>;

    /// What modulates blocks at the first of these noise levels, as many as memory is spent on and at least one, for
    /// [`DenoiserInput::modulations`].
    ///
    /// # Errors
    /// [`CheckpointError`] if the network's file was written to since it was opened.
    fn modulations(
        &self,
        sigmas: &[f64],
        conditioning: &Conditioning,
        distilled_guidance: Option<f64>,
    ) -> Result<Modulations, CheckpointError>;

    /// Add the gradients of a loss to what is trained beside the network; see [`block_gradients`](super::block_gradients).
    ///
    /// # Errors
    /// [`CheckpointError`] if the network's file was written to since it was opened.
    #[cfg(feature = "autodiff")]
    fn gradients(
        &self,
        input: &DenoiserInput<'_>,
        trained: &TrainedParameters,
        options: GradientOptions,
        of_velocity: &mut dyn FnMut(Tensor<4>) -> Tensor<4>,
    ) -> Result<BlockGradients, CheckpointError>;

    /// The same network with `patches` in place of those of now.
    ///
    /// # Errors
    /// [`CheckpointError`] if its file cannot be read any more; the network is used up.
    fn patched(self: Box<Self>, patches: &WeightPatches, mode: PatchMode) -> Result<Box<dyn Denoiser>, CheckpointError>;

    /// Why its steps are not captured, if that was [asked for](crate::Loading::captures_steps) and tried.
    fn why_not_captured(&self) -> Option<NotCaptured> {
        None
    }
}

impl<N: BlockNetwork + LoadedNetwork + 'static> Denoiser for N {
    fn velocity(
        &self,
        input: &DenoiserInput<'_>,
        skipped_blocks: &[usize],
        hook: &mut dyn BlockHook,
    ) -> Result<Tensor<4>, CheckpointError> {
        block_network::run(self, input, skipped_blocks, hook)
    }

    fn modulations(
        &self,
        sigmas: &[f64],
        conditioning: &Conditioning,
        distilled_guidance: Option<f64>,
    ) -> Result<Modulations, CheckpointError> {
        block_network::modulations(self, sigmas, conditioning, distilled_guidance)
    }

    #[cfg(feature = "autodiff")]
    fn gradients(
        &self,
        input: &DenoiserInput<'_>,
        trained: &TrainedParameters,
        options: GradientOptions,
        of_velocity: &mut dyn FnMut(Tensor<4>) -> Tensor<4>,
    ) -> Result<BlockGradients, CheckpointError> {
        super::block_gradients(self, input, trained, options, of_velocity)
    }

    fn patched(self: Box<Self>, patches: &WeightPatches, mode: PatchMode) -> Result<Box<dyn Denoiser>, CheckpointError> {
        Ok(Box::new(LoadedNetwork::patched(*self, patches, mode)?))
    }
}
