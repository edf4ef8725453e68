//! The file of an autoencoder, full or tiny, and its decoder.

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::PatchTarget;
use diffusion_core::{LatentDecoder, LatentDistribution, LatentEncoder, Loading, weights};

use crate::autoencoder_kl::{AutoencoderKlConfig, AutoencoderKlDecoder, AutoencoderKlEncoder, decode_tiled, encode_tiled};
use crate::autoencoder_tiny::{AutoencoderTinyConfig, AutoencoderTinyDecoder};
use crate::component_file::{ComponentFile, left_out};
use crate::components::{Component, VAE};
use crate::detect::FileKind;
use crate::error::PipelineError;
use crate::network_config::WeightKeeping;
use crate::settings::Tiling;
use crate::source::Source;

/// The file of an autoencoder, and which kind it is.
#[derive(Clone, Debug)]
pub struct AutoencoderFile {
    checkpoint: Checkpoint,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Full(AutoencoderKlConfig),
    Tiny(AutoencoderTinyConfig),
}

impl AutoencoderFile {
    /// The autoencoder: of the file given for it, or else the model's own. `published` tells what a checkpoint cannot: the
    /// scale of the latents.
    pub(crate) fn open(source: &Source, published: &AutoencoderKlConfig) -> Result<Self, PipelineError> {
        let (checkpoint, _) = source.component(&Component::VAE)?.ok_or_else(|| source.missing(&[VAE]))?;
        let kind = source.kind_of(&checkpoint);
        if kind == FileKind::AutoencoderTiny && source.given(VAE).is_some() {
            return Ok(Self { checkpoint, kind: Kind::Tiny(AutoencoderTinyConfig::default()) });
        }
        if kind != FileKind::AutoencoderKl {
            return Err(PipelineError::other_model(checkpoint.path(), FileKind::AutoencoderKl, kind));
        }
        let config = match source.config_of(VAE, "vae/config.json") {
            Some(config) => AutoencoderKlConfig::from_diffusers_json(&config)?,
            None => published.clone().sized_as(&checkpoint)?,
        };
        let latents = |config: &AutoencoderKlConfig| (config.latent_channels, config.downscale());
        if latents(&config) != latents(published) {
            let describe = |(channels, pixels)| format!("an autoencoder of {channels} channels for {pixels} x {pixels} pixels");
            let (expected, found) = (describe(latents(published)), describe(latents(&config)));
            return Err(PipelineError::OtherModel { path: checkpoint.path().to_owned(), expected, found });
        }
        Ok(Self { checkpoint, kind: Kind::Full(config) })
    }

    /// Whether it encodes images: a tiny autoencoder's file has the decoder alone.
    pub fn has_encoder(&self) -> bool {
        matches!(self.kind, Kind::Full(_))
    }

    /// The mean latents of an image, by the encoder of the same autoencoder.
    ///
    /// # Shapes
    /// - image: `[1, 3, height, width]`, RGB in [-1, 1]
    /// # Errors
    /// As [`load_encoder`](Self::load_encoder).
    pub fn encode_image(&self, image: Tensor<4>, loading: &Loading<'_>) -> Result<Tensor<4>, PipelineError> {
        Ok(self.load_encoder(loading)?.encode(image, Tiling::Whole).mean)
    }

    /// Load the encoder.
    ///
    /// # Errors
    /// [`PipelineError::NoImageEncoder`] for a tiny autoencoder, whose file has the decoder alone; [`PipelineError::Checkpoint`]
    /// if the file was written to since it was opened, or the loading is cancelled.
    pub fn load_encoder(&self, loading: &Loading<'_>) -> Result<ImageEncoder, PipelineError> {
        match &self.kind {
            Kind::Full(config) => Ok(ImageEncoder {
                encoder: AutoencoderKlEncoder::load(self.checkpoint.clone(), config, &loading.of(VAE))?,
                tile: config.tile_latent_size(),
            }),
            Kind::Tiny(_) => Err(PipelineError::NoImageEncoder { path: self.checkpoint.path().to_owned() }),
        }
    }

    /// Load the decoder.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file was written to since it was opened, or the loading is cancelled.
    pub fn load_decoder(&self, loading: &Loading<'_>) -> Result<ImageDecoder, CheckpointError> {
        let (checkpoint, loading) = (self.checkpoint.clone(), loading.of(VAE));
        Ok(match &self.kind {
            Kind::Full(config) => {
                let decoder = AutoencoderKlDecoder::load(checkpoint, config, &loading)?;
                ImageDecoder::Kl(Box::new(decoder), config.tile_latent_size())
            }
            Kind::Tiny(config) => ImageDecoder::Tiny(Box::new(AutoencoderTinyDecoder::load(checkpoint, config, &loading)?)),
        })
    }
}

impl ComponentFile for AutoencoderFile {
    fn component(&self) -> &Component {
        &Component::VAE
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn keeping(&self) -> WeightKeeping {
        WeightKeeping::Converted
    }

    fn configuration(&self) -> String {
        format!("{:?}", self.kind)
    }

    fn check(&self) -> Result<(), CheckpointError> {
        let (checkpoint, device) = (self.checkpoint.clone(), Device::default());
        match &self.kind {
            Kind::Full(config) => weights::check(&config.rename(checkpoint)?, &config.init(&device)),
            Kind::Tiny(config) => AutoencoderTinyDecoder::check(checkpoint, config, &device),
        }
    }

    fn left_out(&self) -> Vec<String> {
        let kept = match &self.kind {
            Kind::Full(config) => config.rename(self.checkpoint.clone()),
            Kind::Tiny(_) => return Vec::new(),
        };
        kept.map_or_else(|_| Vec::new(), |kept| left_out(&self.checkpoint, &kept))
    }

    fn patch_target(&self) -> Option<PatchTarget> {
        None
    }
}

/// A loaded encoder.
#[derive(Debug)]
pub struct ImageEncoder {
    encoder: AutoencoderKlEncoder,
    /// Side of a tile in latent pixels.
    tile: usize,
}

impl ImageEncoder {
    /// The latents that an image may have, in the scale of the denoising network.
    ///
    /// # Shapes
    /// - images: `[batch, 3, 8 height, 8 width]`, RGB in [-1, 1], result: `[batch, latent_channels, height, width]`, f32
    pub fn encode(&self, images: Tensor<4>, tiling: Tiling) -> LatentDistribution {
        match tiling {
            Tiling::Tiled => encode_tiled(&self.encoder, images, self.tile),
            Tiling::Whole => self.encoder.encode(images),
        }
    }
}

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
        self.decode_some_at_once(latents, tiling, 1)
    }

    /// The same, with so many tiles at once if it is tiled.
    pub(crate) fn decode_some_at_once(&self, latents: Tensor<4>, tiling: Tiling, tiles_at_once: usize) -> Tensor<4> {
        match (self, tiling) {
            (Self::Kl(decoder, tile), Tiling::Tiled) => decode_tiled(decoder.as_ref(), latents, *tile, tiles_at_once),
            (Self::Kl(decoder, _), Tiling::Whole) => decoder.decode(latents),
            (Self::Tiny(decoder), _) => decoder.decode(latents),
        }
    }
}
