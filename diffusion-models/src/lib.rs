//! Stable Diffusion 3, 3.5 and FLUX.1 on [Burn](burn): text encoders, transformer, autoencoders, and the pipeline that joins them.

pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod clip;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
pub mod config;
mod detect;
mod encoded_prompts;
mod error;
mod family;
pub mod flux;
mod guided_network;
mod image_decoder;
mod latent_rgb;
mod layers;
mod model_source;
mod pipeline;
mod plan;
mod scheduler_config;
pub mod sd3;
mod settings;
mod starting_picture;
mod step_cache;
pub mod t5;
mod text;
pub mod tokenizer;
mod watch;

pub use detect::ModelKind;
pub use error::PipelineError;
pub use family::{Family, Prompt, Question, Step};
pub use image_decoder::{ImageDecoder, Tiling};
pub use latent_rgb::LatentRgb;
pub use model_source::{ModelParts, model_kind};
pub use pipeline::Pipeline;
pub use plan::{Plan, PlannedPart, Stage};
pub use settings::{Guidance, GuidanceEvaluation, GuidanceMethod, NoiseShift, Settings};
pub use starting_picture::StartingPicture;
pub use step_cache::{FirstBlockCache, StepCache, StepCacheReport};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeDoctests;
