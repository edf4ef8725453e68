//! What diffusion models on [Burn](burn) share: the traits that models, samplers and autoencoders meet at, checkpoint
//! files, weights that are stored narrower than they compute, seeded noise, and images.
//!
//! This crate sits at the bottom of the workspace: `diffusion-schedulers` implements its [`Sampler`] and
//! [`SigmaSchedule`], `diffusion-models` its [`VelocityModel`], [`TextEncoder`] and [`LatentDecoder`].
//!
//! ```no_run
//! use diffusion_core::checkpoint::Checkpoint;
//!
//! let checkpoint = Checkpoint::open("sd3.5_medium.safetensors".as_ref())?;
//! for (name, tensor) in checkpoint.tensors().take(3) {
//!     println!("{name}: {:?} {}", tensor.shape(), tensor.format());
//! }
//! # Ok::<(), diffusion_core::checkpoint::CheckpointError>(())
//! ```
//!
//! # Features
//! - `flex`: Burn's CPU backend, and faster bodies of [`ops`] for tensors on it. Off by default: which backends there
//!   are is for the program at the top to choose.
//! - `serde`: [`Sigmas`] as a list of numbers, checked when it is read.

pub mod attached_weight;
pub mod autoencoder;
pub mod checkpoint;
pub mod image;
pub mod loaded_weights;
pub mod mask;
pub mod noise;
pub mod ops;
pub mod packed_weight;
pub mod part;
pub mod precision;
pub mod projection;
pub mod sampler;
pub mod sigmas;
pub mod text_encoder;
pub mod token_embedding;
pub mod velocity_model;
pub mod weight_change;

pub use attached_weight::AttachedWeight;
pub use autoencoder::{LatentDecoder, LatentDistribution, LatentEncoder};
pub use loaded_weights::{LoadedNetwork, LoadedWeights, Residency};
pub use packed_weight::PackedWeight;
pub use part::{ChangeWeights, Part, PartChanges};
pub use precision::{Precision, Storage};
pub use projection::Projection;
pub use sampler::{Evaluation, SampleError, Sampler, SamplerRun, SamplerStep, VelocityError};
pub use sigmas::{ScheduleError, SigmaSchedule, Sigmas};
pub use text_encoder::{TextEmbedding, TextEncoder};
pub use token_embedding::TokenEmbedding;
pub use velocity_model::VelocityModel;
pub use weight_change::{Application, LowRank, WeightChange, WeightChanges};
