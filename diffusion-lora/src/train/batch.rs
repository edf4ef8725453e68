//! What one step of training learns from.

use burn::tensor::Tensor;
use diffusion_core::network::Conditioning;

/// Pictures with captions, each at a noise level: `x = (1 - σ) latents + σ noise`, from which the network is to tell
/// `noise - latents`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// As the network takes them, `[batch, channels, height, width]`, f32.
    pub latents: Tensor<4>,
    /// Standard normal, of the same shape.
    pub noise: Tensor<4>,
    /// Noise levels, as many as pictures.
    pub sigmas: Vec<f64>,
    /// Captions as texts, as many as pictures; none where only their encoding is known.
    pub captions: Vec<String>,
    /// Captions as the network takes them, as many as pictures.
    pub conditioning: Conditioning,
    /// Factor of the mean squared error of each picture; the loss is their sum. `1 / batch`, unless pictures count differently.
    pub weights: Vec<f64>,
    /// What to call the pictures in messages.
    pub names: Vec<String>,
}

/// Gives the batches of a training run.
///
/// A batch depends on its number and on nothing that happened before. So a run that was stopped goes on with the batches that it
/// would have had.
pub trait Batches {
    /// Why a batch cannot be given.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The batch of this number, from 0. A step of training takes as many as gradients are accumulated.
    ///
    /// Where a [`Trainer`](super::Trainer) trains text encoders, it has their uses recorded meanwhile. So captions that are encoded
    /// here, with text encoders that are patched with what is trained, lead to it.
    ///
    /// # Errors
    /// If what it is made of cannot be read any more.
    fn batch(&mut self, index: usize) -> Result<Batch, Self::Error>;
}
