//! Stable Diffusion 3, 3.5 and FLUX.1 on [Burn](burn): text encoders, transformers, autoencoders, and the pipeline that joins
//! them.
//!
//! This crate stands on `diffusion-core` and `diffusion-schedulers`. A [`Pipeline`] opens a model of any family as a value, a
//! [`Request`] says what to draw, and an observer hears of every [`Event`]. The typed networks of the [`sd3`] and [`flux`]
//! folders can be used alone.
//!
//! ```
//! use std::ops::ControlFlow;
//! use burn::tensor::Device;
//! use diffusion_models::{Event, Pipeline, PipelineOptions, Request, Settings};
//!
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../diffusion-app/assets/mini-sd3");
//! // Any model: a diffusers folder, packed into a DDUF file or not, or a single file.
//! let mut pipeline = Pipeline::open(model.as_ref(), &PipelineOptions::new(&Device::default()))?;
//! let settings = Settings { num_steps: 2, ..pipeline.default_settings() };
//! let request = Request { seeds: vec![1, 2], settings, ..Request::new("a large green star on a white background") };
//! let images = pipeline.generate(&request, &mut |event| {
//!     if let Event::Step(step) = event {
//!         println!("step {} of {}", step.index + 1, step.num_steps);
//!     }
//!     ControlFlow::Continue(()) // Break(()) cancels
//! })?;
//! assert_eq!(images.len(), 2);
//! # Ok::<(), diffusion_models::PipelineError>(())
//! ```
//!
//! # Features
//! - `embedded-tokenizers` (default): carries the CLIP and T5 tokenizers, for checkpoints that come without.
//! - `flex`: Burn's CPU backend with faster bodies of some operations; see `diffusion-core`.
//! - `serde`: [`Settings`] can be stored and sent.

mod autoencoder_file;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod clip;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
mod component_file;
mod component_paths;
pub mod components;
mod detect;
mod encoded_prompt;
mod error;
mod event;
mod families;
mod family;
mod family_profile;
pub mod flux;
mod foreign_models;
mod guided_denoiser;
mod layers;
mod left_out;
mod model;
mod model_folder;
mod network_config;
mod on_device;
mod pass;
mod pipeline;
mod pipeline_class;
mod pipeline_options;
mod plan;
mod prompt_cache;
mod prompt_encoder;
mod prompt_store;
mod request;
pub mod sd3;
mod settings;
mod source;
mod start;
pub mod t5;
mod text_file;
pub mod tokenizer;
mod training_advice;

pub use autoencoder_file::{AutoencoderFile, ImageDecoder, ImageEncoder};
pub use component_file::ComponentFile;
pub use component_paths::ComponentPaths;
pub use detect::FileKind;
pub use diffusion_core::network::{Conditioning, Denoiser, DenoiserInput, Modulations, block_network};
pub use diffusion_core::weights::{ComponentPlace, Placement};
pub use diffusion_core::{LatentRgb, SettingError, config};
pub use diffusion_schedulers::InitLatents;
pub use diffusion_schedulers::guidance::{Guidance, GuidanceEvaluation, GuidanceMethod};
pub use diffusion_schedulers::kind::{NoiseShift, Warning};
pub use diffusion_schedulers::step_cache::{StepCache, StepCacheReport};
pub use encoded_prompt::EncodedPrompt;
pub use error::PipelineError;
pub use event::{Event, Observer, ignore};
pub use families::{convert, file_kind, open_model, released_models};
pub use left_out::LeftOut;
pub use model::{GuidanceKind, ImageGeometry, Model, ModelInfo, ModelSchedule};
pub use model_folder::{FolderComponent, ModelFolder};
pub use network_config::{NetworkConfig, WeightKeeping};
pub use pipeline::{KeptPrompt, Pipeline};
pub use pipeline_options::PipelineOptions;
pub use plan::{MemoryShortage, Plan, PlannedComponent};
pub use prompt_encoder::{EncodedText, PromptEncoder, TokenizedText, Truncation};
pub use prompt_store::{PromptStore, PromptStoreError, PromptStoreReport, read_encoded_prompt};
pub use request::{InitImage, Request};
pub use settings::{Settings, Tiling};
pub use start::Start;
pub use training_advice::{TrainingAdvice, TrainingShift};
