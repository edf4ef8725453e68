//! What every denoising network is to a sampler: a velocity field.

use burn::tensor::Tensor;

/// A network that gives the velocity `dx/dσ` of noisy latents.
///
/// With `x = (1 - σ) x₀ + σ ε` (rectified flow) or `x = x₀ + σ ε` (variance exploding), `dx/dσ = (x - x₀) / σ`, so
/// `x₀ = x - σ velocity` holds for both, and no sampler divides by a small σ.
pub trait VelocityModel {
    /// What the velocity depends on besides latents and noise level: the encoded prompt.
    type Conditioning;

    /// The velocity at noise level `sigma`.
    ///
    /// # Shapes
    /// - latents: `[batch, channels, height, width]` in latent cells, result: the same
    fn velocity(&self, latents: Tensor<4>, sigma: f64, conditioning: &Self::Conditioning) -> Tensor<4>;
}
