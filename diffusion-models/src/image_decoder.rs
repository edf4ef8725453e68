//! The decoder of a pipeline: of the full autoencoder, or of a tiny one.

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::{LatentDecoder, LatentEncoder, Precision};

use crate::autoencoder_kl::{AutoencoderKlConfig, AutoencoderKlDecoder, AutoencoderKlEncoder, decode_tiled};
use crate::autoencoder_tiny::{AutoencoderTinyConfig, AutoencoderTinyDecoder};
use crate::error::PipelineError;

/// The checkpoint of a decoder, and which kind it is.
#[derive(Clone, Debug)]
pub(crate) enum DecoderFile {
    Kl(Checkpoint, AutoencoderKlConfig),
    Tiny(Checkpoint),
}

/// A decoder that one can choose: the model's own, or a tiny one that is faster and coarser.
#[derive(Debug)]
pub enum ImageDecoder {
    /// The full autoencoder's, with the side of a tile in latent cells.
    Kl(Box<AutoencoderKlDecoder>, usize),
    /// A tiny autoencoder's.
    Tiny(Box<AutoencoderTinyDecoder>),
}

/// Whether latents are decoded whole or in overlapping tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiling {
    /// Whole.
    #[default]
    Whole,
    /// In overlapping tiles, which takes less memory; the norms see a tile each, so pictures differ a little.
    Tiled,
}

impl DecoderFile {
    /// The weights, of either kind.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        match self {
            Self::Kl(checkpoint, _) | Self::Tiny(checkpoint) => checkpoint,
        }
    }

    /// Whether [`load`](Self::load) can succeed, without reading weights.
    pub(crate) fn check(&self, device: &Device) -> Result<(), PipelineError> {
        match self {
            Self::Kl(checkpoint, config) => config.rename(checkpoint.clone())?.check(&config.init(device))?,
            Self::Tiny(checkpoint) => {
                AutoencoderTinyDecoder::check(checkpoint.clone(), &AutoencoderTinyConfig::default(), device)?;
            }
        }
        Ok(())
    }

    /// The mean latents of a picture, by the encoder of the same autoencoder.
    pub(crate) fn encode_image(
        &self,
        image: Tensor<4>,
        precision: Precision,
        device: &Device,
    ) -> Result<Tensor<4>, PipelineError> {
        match self {
            Self::Kl(checkpoint, config) => {
                let encoder = AutoencoderKlEncoder::load(checkpoint.clone(), config, precision, device)?;
                Ok(encoder.encode(image).mean)
            }
            Self::Tiny(checkpoint) => Err(PipelineError::MissingPart {
                path: checkpoint.path().to_owned(),
                part: "encoder of the full autoencoder, which starting from a picture needs",
                option: "--vae",
            }),
        }
    }

    pub(crate) fn load(&self, precision: Precision, device: &Device) -> Result<ImageDecoder, PipelineError> {
        Ok(match self {
            Self::Kl(checkpoint, config) => {
                let decoder = AutoencoderKlDecoder::load(checkpoint.clone(), config, precision, device)?;
                ImageDecoder::Kl(Box::new(decoder), config.tile_latent_size())
            }
            Self::Tiny(checkpoint) => ImageDecoder::Tiny(Box::new(AutoencoderTinyDecoder::load(
                checkpoint.clone(),
                &AutoencoderTinyConfig::default(),
                precision,
                device,
            )?)),
        })
    }
}

impl ImageDecoder {
    /// Decode latents, `[batch, 16, height, width]`, to RGB in [-1, 1], `[batch, 3, 8 height, 8 width]`.
    pub fn decode(&self, latents: Tensor<4>, tiling: Tiling) -> Tensor<4> {
        match (self, tiling) {
            (Self::Kl(decoder, tile), Tiling::Tiled) => decode_tiled(decoder.as_ref(), latents, *tile),
            (Self::Kl(decoder, _), Tiling::Whole) => decoder.decode(latents),
            (Self::Tiny(decoder), _) => decoder.decode(latents),
        }
    }
}
