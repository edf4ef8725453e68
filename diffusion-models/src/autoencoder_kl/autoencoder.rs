//! Both halves of an autoencoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::{check, load_into};
use diffusion_core::{LatentDecoder, LatentDistribution, LatentEncoder, Loading};

use super::config::AutoencoderKlConfig;
use super::decoder::AutoencoderKlDecoder;
use super::encoder::AutoencoderKlEncoder;
use super::keys;

/// Both halves of an autoencoder.
///
/// A program that only draws needs [`AutoencoderKlDecoder`] alone.
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    /// Images to latents.
    pub encoder: AutoencoderKlEncoder,
    /// Latents to images.
    pub decoder: AutoencoderKlDecoder,
}

impl AutoencoderKlConfig {
    /// Make the autoencoder, without allocating; see [`AutoencoderKl::load`].
    ///
    /// # Panics
    /// If there are no levels, or the channels of a level do not form `norm_num_groups` groups. Configurations that were
    /// read or detected are checked.
    pub fn init(&self, device: &Device) -> AutoencoderKl {
        AutoencoderKl { encoder: AutoencoderKlEncoder::new(self, device), decoder: AutoencoderKlDecoder::new(self, device) }
    }

    /// A checkpoint of either layout under the names of the autoencoder's parameters, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when two names mean one weight.
    pub fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let layout = keys::Layout::of(&checkpoint);
        checkpoint.named("the autoencoder").renamed(&layout.key_map(self.block_out_channels.len()))
    }

    /// An empty autoencoder, and the checkpoint that fills it, both halves of it.
    pub(super) fn init_for(
        &self,
        checkpoint: Checkpoint,
        device: &Device,
    ) -> Result<(AutoencoderKl, Checkpoint), CheckpointError> {
        let (whole, checkpoint) = (self.init(device), self.rename(checkpoint)?);
        check(&checkpoint, &whole)?;
        Ok((whole, checkpoint))
    }
}

impl AutoencoderKl {
    /// Load an autoencoder in diffusers' or the original layout, its prefix (`first_stage_model.`, `vae.`) taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file does not hold exactly the weights that `config` calls for.
    /// # Panics
    /// See [`AutoencoderKlConfig::init`].
    pub fn load(checkpoint: Checkpoint, config: &AutoencoderKlConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        load_into(config.rename(checkpoint)?, config.init(loading.device), loading)
    }
}

impl LatentEncoder for AutoencoderKl {
    fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        self.encoder.encode(images)
    }
}

impl LatentDecoder for AutoencoderKl {
    fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.decode(latents)
    }
}
