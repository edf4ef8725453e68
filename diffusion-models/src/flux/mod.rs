//! FLUX.1: dev, schnell and their finetunes.
//!
//! Reference: black-forest-labs/flux at 802fb47, diffusers at 58eb52c.

mod block;
mod config;
mod keys;
mod latent_colors;
mod model;
mod patches;
mod prompt_encoder;
mod transformer;

pub use config::{DistilledGuidance, FluxConfig};
pub(crate) use model::FAMILY;
pub use model::FluxModel;
pub use prompt_encoder::FluxPromptEncoder;
pub use transformer::{FluxState, FluxTransformer};
