//! What a denoising network computes from.

use burn::tensor::Tensor;

use super::conditioning::Conditioning;
use super::modulations::Modulations;

/// What a denoising network computes from. Each image of the batch has a noise level of its own.
#[derive(Clone, Debug)]
pub struct DenoiserInput<'a> {
    /// Noisy latents, `[batch, channels, height, width]`.
    pub latents: Tensor<4>,
    /// Their noise levels, as many as images.
    pub sigmas: &'a [f64],
    /// Encoded texts, as many as images.
    pub conditioning: &'a Conditioning,
    /// Guidance as an input, for networks that were distilled to take it.
    pub distilled_guidance: Option<f64>,
    /// What modulates blocks under this conditioning and this guidance, as far as it was computed ahead.
    pub modulations: Option<&'a Modulations>,
}
