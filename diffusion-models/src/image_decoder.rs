//! The decoder of a pipeline: of the full autoencoder, or of a tiny one.

use burn::tensor::Tensor;
use diffusion_core::LatentDecoder;

use crate::autoencoder_kl::{AutoencoderKlDecoder, decode_tiled};
use crate::autoencoder_tiny::AutoencoderTinyDecoder;
use crate::settings::Tiling;

/// A loaded decoder: the model's own, or a tiny one that is faster and coarser.
#[derive(Debug)]
pub enum ImageDecoder {
    /// The full autoencoder's, with the side of a tile in latent pixels.
    Kl(Box<AutoencoderKlDecoder>, usize),
    /// A tiny autoencoder's.
    Tiny(Box<AutoencoderTinyDecoder>),
}

impl ImageDecoder {
    /// Decode latents, `[batch, latent_channels, height, width]`, to RGB in [-1, 1], `[batch, 3, 8 height, 8 width]`.
    pub fn decode(&self, latents: Tensor<4>, tiling: Tiling) -> Tensor<4> {
        match (self, tiling) {
            (Self::Kl(decoder, tile), Tiling::Tiled) => decode_tiled(decoder.as_ref(), latents, *tile),
            (Self::Kl(decoder, _), Tiling::Whole) => decoder.decode(latents),
            (Self::Tiny(decoder), _) => decoder.decode(latents),
        }
    }
}
