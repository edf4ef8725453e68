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
//! # let device = Device::default();
//! let checkpoint = Checkpoint::open("taesd3_decoder.safetensors".as_ref())?;
//! let config = AutoencoderTinyConfig::default();
//! let decoder = AutoencoderTinyDecoder::load(checkpoint, &config, &Loading::new(Precision::f32(), &device))?;
//! let previews = RgbImage::from_tensor(decoder.decode(latent_noise(0, [1, 16, 64, 64], &device)));
//! # Ok(())
//! # }
//! ```

mod autoencoder;
mod block;
mod config;
mod decoder;
mod encoder;
mod keys;

pub use autoencoder::AutoencoderTiny;
pub use config::AutoencoderTinyConfig;
pub use decoder::AutoencoderTinyDecoder;
pub use encoder::AutoencoderTinyEncoder;
