//! Tiny autoencoders (TAESD3, TAEF1): previews, and drawing where the large one is too slow.
//!
//! They were distilled from the large autoencoders to work on the latents of the denoising network as they are, without
//! scale and shift.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use diffusion_core::checkpoint::Checkpoint;
//! use diffusion_core::{LatentDecoder, Loading, Precision, image::RgbImage, noise::latent_noise};
//! use diffusion_models::autoencoder_tiny::{AutoencoderTinyConfig, AutoencoderTinyDecoder};
//!
//! # fn main() -> Result<(), diffusion_core::checkpoint::CheckpointError> {
//! # let device: Device = unimplemented!();
//! let checkpoint = Checkpoint::open("taesd3_decoder.safetensors".as_ref())?;
//! let config = AutoencoderTinyConfig::default();
//! let decoder = AutoencoderTinyDecoder::load(checkpoint, &config, &Loading::new(Precision::f32(), &device))?;
//! let previews = RgbImage::from_tensor(decoder.decode(latent_noise(0, [1, 16, 64, 64], &device)));
//! # Ok(())
//! # }
//! ```

mod block;
mod decoder;
mod encoder;
mod keys;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::load_into;
use diffusion_core::{LatentDecoder, LatentDistribution, LatentEncoder, Loading};

pub use decoder::AutoencoderTinyDecoder;
pub use encoder::AutoencoderTinyEncoder;

/// Levels between pictures and latents: each halves or doubles the sides.
const NUM_LEVELS: usize = 3;
/// Blocks at each of these levels.
const BLOCKS_PER_LEVEL: usize = 3;

/// Sizes of a tiny autoencoder. The default is that of TAESD3 and TAEF1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoencoderTinyConfig {
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels inside.
    pub hidden_channels: usize,
}

impl Default for AutoencoderTinyConfig {
    fn default() -> Self {
        Self { latent_channels: 16, hidden_channels: 64 }
    }
}

/// Both halves of a tiny autoencoder.
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    /// Pictures to latents.
    pub encoder: AutoencoderTinyEncoder,
    /// Latents to pictures.
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
