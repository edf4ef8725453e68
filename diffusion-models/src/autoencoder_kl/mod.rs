//! The convolutional autoencoder of Stable Diffusion 3 and FLUX.1, a variational one with a Kullback-Leibler term.
//!
//! Eight by eight pixels become one latent pixel of sixteen channels. Scale and shift of the latents are applied here:
//! [`encode`](diffusion_core::LatentEncoder::encode) gives and [`decode`](diffusion_core::LatentDecoder::decode) takes what the
//! denoising network sees.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use diffusion_core::checkpoint::Checkpoint;
//! use diffusion_core::{LatentDecoder, Loading, Precision, image::RgbImage, noise::latent_noise};
//! use diffusion_models::autoencoder_kl::{AutoencoderKlConfig, AutoencoderKlDecoder};
//!
//! # fn main() -> Result<(), diffusion_core::checkpoint::CheckpointError> {
//! # let device = Device::default();
//! let checkpoint = Checkpoint::open("sd3.5_medium.safetensors".as_ref())?.under("first_stage_model.");
//! let decoder = AutoencoderKlDecoder::load(checkpoint, &AutoencoderKlConfig::sd3(), &Loading::new(Precision::f32(), &device))?;
//! let images = RgbImage::from_tensor(decoder.decode(latent_noise(0, [1, 16, 64, 64], &device)));
//! # Ok(())
//! # }
//! ```

mod autoencoder;
mod blocks;
mod config;
mod decoder;
mod encoder;
mod keys;
mod latent_scale;
mod tiling;

pub use autoencoder::AutoencoderKl;
pub use blocks::{Middle, ResidualBlock, SpatialAttention};
pub use config::AutoencoderKlConfig;
pub use decoder::{AutoencoderKlDecoder, DecoderLevel};
pub use encoder::{AutoencoderKlEncoder, EncoderLevel};
pub use tiling::{decode_tiled, encode_tiled};
