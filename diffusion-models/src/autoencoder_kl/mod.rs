//! The convolutional autoencoder of Stable Diffusion 3 and FLUX.1, a variational one with a Kullback-Leibler term.
//!
//! Eight by eight pixels become one latent pixel of sixteen channels. Scale and shift of the latents are applied here:
//! [`encode`](LatentEncoder::encode) gives and [`decode`](LatentDecoder::decode) takes what the denoising network sees.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use diffusion_core::checkpoint::Checkpoint;
//! use diffusion_core::{LatentDecoder, Loading, Precision, image::RgbImage, noise::latent_noise};
//! use diffusion_models::autoencoder_kl::{AutoencoderKlConfig, AutoencoderKlDecoder};
//!
//! # fn main() -> Result<(), diffusion_core::checkpoint::CheckpointError> {
//! # let device: Device = unimplemented!();
//! let checkpoint = Checkpoint::open("sd3.5_medium.safetensors".as_ref())?.under("first_stage_model.");
//! let decoder = AutoencoderKlDecoder::load(checkpoint, &AutoencoderKlConfig::sd3(), &Loading::new(Precision::f32(), &device))?;
//! let images = RgbImage::from_tensor(decoder.decode(latent_noise(0, [1, 16, 64, 64], &device)));
//! # Ok(())
//! # }
//! ```

mod blocks;
mod config;
mod decoder;
mod encoder;
mod keys;
mod tiling;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::{check, load_into};
use diffusion_core::{LatentDecoder, LatentDistribution, LatentEncoder, Loading};

pub use blocks::{Middle, ResidualBlock, SpatialAttention};
pub use config::AutoencoderKlConfig;
pub use decoder::{AutoencoderKlDecoder, DecoderLevel};
pub use encoder::{AutoencoderKlEncoder, EncoderLevel};
pub use tiling::{decode_tiled, encode_tiled};

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
    fn init_for(&self, checkpoint: Checkpoint, device: &Device) -> Result<(AutoencoderKl, Checkpoint), CheckpointError> {
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

/// How the latents of the network become those of an autoencoder.
#[derive(Clone, Copy, Debug)]
struct LatentScale {
    factor: f64,
    shift: f64,
}

impl LatentScale {
    fn of(config: &AutoencoderKlConfig) -> Self {
        Self { factor: config.scaling_factor, shift: config.shift_factor }
    }

    fn scaled(self, latents: Tensor<4>) -> Tensor<4> {
        latents.sub_scalar(self.shift).mul_scalar(self.factor)
    }

    fn unscaled(self, latents: Tensor<4>) -> Tensor<4> {
        latents.div_scalar(self.factor).add_scalar(self.shift)
    }
}
