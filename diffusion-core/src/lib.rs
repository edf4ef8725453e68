//! The ground of the diffusion crates on [Burn](burn): number formats, checkpoint files, weights that are stored narrower than
//! they compute, tensor operations, seeded noise, and the traits where samplers, text encoders and autoencoders meet.
//!
//! This crate knows no model and no schedule. `diffusion-schedulers` implements its [`Sampler`] and [`SigmaSchedule`],
//! `diffusion-models` its [`TextEncoder`] and [`LatentDecoder`], and `diffusion-lora` makes its
//! [patches](weights::WeightPatch). Inside, every floor stands on the ones before it: [`format`](mod@format), [`ops`],
//! [`checkpoint`], [`weights`], [`network`].
//!
//! ```
//! use diffusion_core::checkpoint::Checkpoint;
//! use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
//! use diffusion_core::format::Format;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("tiny.safetensors");
//! let spec = TensorSpec { name: "scale".to_owned(), shape: vec![2], format: Format::F32 };
//! let mut writer = CheckpointWriter::create(&path, Container::Safetensors, vec![spec], None)?;
//! writer.append(&[0, 0, 128, 63, 0, 0, 0, 64])?;
//! writer.finish()?;
//!
//! // Opening reads the header; the numbers are read when they are asked for.
//! let checkpoint = Checkpoint::open(&path)?;
//! for (name, tensor) in checkpoint.tensors() {
//!     println!("{name}: {:?} {} {:?}", tensor.shape(), tensor.format(), tensor.to_f32()?);
//! }
//! # assert_eq!(checkpoint.get("scale").unwrap().to_f32()?, [1.0, 2.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `flex`: Burn's CPU backend, and faster bodies of [`ops`] for tensors on it. Off by default: which backends there
//!   are is for the program at the top to choose.
//! - `autodiff`: for training. Products with frozen weights keep no widened copy of them for the backward pass.
//! - `serde`: [`Sigmas`] as a list of numbers, checked when it is read.

pub mod autoencoder;
pub mod checkpoint;
pub mod config;
pub mod dduf;
pub mod files;
pub mod format;
pub mod image;
mod latent_rgb;
pub mod mask;
pub mod model_path;
pub mod network;
pub mod noise;
pub mod ops;
pub mod sampler;
mod setting_error;
pub mod sigmas;
pub mod text_encoder;
pub mod tiles;
pub mod weights;

pub use autoencoder::{LatentDecoder, LatentDistribution, LatentEncoder};
pub use latent_rgb::LatentRgb;
pub use sampler::{Evaluation, SampleError, Sampler, SamplerRun, SamplerStep, VelocityError};
pub use setting_error::SettingError;
pub use sigmas::{ScheduleError, SigmaSchedule, Sigmas};
pub use text_encoder::{TextEmbedding, TextEncoder};
pub use weights::{Loading, Precision, Products, Residency, Storage};
