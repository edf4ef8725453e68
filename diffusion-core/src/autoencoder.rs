//! Autoencoders: images to latents and back. Scaling and shift of the latents live inside the autoencoder, nowhere else.

use burn::tensor::Tensor;

/// Turns latents into images.
pub trait LatentDecoder {
    /// Decode latents as the denoising network sees them.
    ///
    /// # Shapes
    /// - latents: `[batch, latent_channels, height, width]`, result: `[batch, 3, 8 height, 8 width]`, RGB, nominally in
    ///   [-1, 1] and not clamped
    fn decode(&self, latents: Tensor<4>) -> Tensor<4>;
}

/// Turns images into latents.
pub trait LatentEncoder {
    /// Encode images.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`, RGB in [-1, 1], sides divisible by 8
    fn encode(&self, images: Tensor<4>) -> LatentDistribution;
}

/// A diagonal Gaussian over latents, in the scale that the denoising network sees.
#[derive(Clone, Debug)]
pub struct LatentDistribution {
    /// Mean, `[batch, latent_channels, height, width]`.
    pub mean: Tensor<4>,
    /// Standard deviation, of the same shape.
    pub std: Tensor<4>,
}

impl LatentDistribution {
    /// A sample, with `noise` drawn from the standard normal distribution, of the mean's shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + self.std.clone() * noise
    }
}
