//! Stable Diffusion 3 and 3.5: MMDiT and MMDiT-X.
//!
//! Paper: Scaling Rectified Flow Transformers, arXiv 2403.03206. Reference: diffusers at 58eb52c, Stability-AI/sd3.5 at
//! fbf8f48.

mod block;
mod config;
mod keys;
mod latent_colors;
mod model;
mod prompt_encoder;
mod transformer;

pub use config::{QkNorm, Sd3Config};
pub(crate) use model::FAMILY;
pub use model::Sd3Model;
pub use prompt_encoder::Sd3PromptEncoder;
pub use transformer::{Sd3State, Sd3Transformer};
