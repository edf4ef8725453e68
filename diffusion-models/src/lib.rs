//! Stable Diffusion 3 and 3.5 on [Burn](burn): text encoders, transformer, autoencoders, and the pipeline that joins them.

pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod clip;
pub mod config;
mod detect;
mod error;
mod image_decoder;
mod layers;
pub mod sd3;
pub mod t5;
pub mod tokenizer;

pub use detect::ModelKind;
pub use error::PipelineError;
pub use image_decoder::{ImageDecoder, Tiling};
