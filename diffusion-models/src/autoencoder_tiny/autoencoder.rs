//! Both halves of a tiny autoencoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::load_into;
use diffusion_core::{LatentDecoder, LatentDistribution, LatentEncoder, Loading};

use super::config::AutoencoderTinyConfig;
use super::decoder::AutoencoderTinyDecoder;
use super::encoder::AutoencoderTinyEncoder;
use super::keys;

/// Both halves of a tiny autoencoder.
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    /// Images to latents.
    pub encoder: AutoencoderTinyEncoder,
    /// Latents to images.
    pub decoder: AutoencoderTinyDecoder,
}

impl AutoencoderTinyConfig {
    /// Make the autoencoder, without allocating.
    pub fn init(&self, device: &Device) -> AutoencoderTiny {
        AutoencoderTiny {
            encoder: AutoencoderTinyEncoder::new(*self, device),
            decoder: AutoencoderTinyDecoder::new(*self, device),
        }
    }
}

impl AutoencoderTiny {
    /// Load a file with both halves, as diffusers and Comfy have them. The original files hold one half each: see
    /// [`AutoencoderTinyEncoder::load`] and [`AutoencoderTinyDecoder::load`].
    ///
    /// # Errors
    /// [`CheckpointError`] if the file does not hold exactly the weights that `config` calls for.
    pub fn load(checkpoint: Checkpoint, config: &AutoencoderTinyConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        load_into(keys::both_halves(checkpoint)?, config.init(loading.device), loading)
    }
}

impl LatentEncoder for AutoencoderTiny {
    fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        self.encoder.encode(images)
    }
}

impl LatentDecoder for AutoencoderTiny {
    fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.decode(latents)
    }
}
