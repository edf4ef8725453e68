//! FLUX.1: dev, schnell and their finetunes.
//!
//! Reference: black-forest-labs/flux at 802fb47, diffusers at 58eb52c.

mod block;
mod config;
mod files;
mod keys;
mod patches;
mod pipeline;
mod text_encoders;
mod transformer;

pub use config::{DistilledGuidance, FluxConfig};
pub use files::FluxFiles;
pub use pipeline::{Flux, FluxPipeline};
pub use text_encoders::FluxTextEncoders;
pub use transformer::{FluxConditioning, FluxTransformer};
