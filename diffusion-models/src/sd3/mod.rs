//! Stable Diffusion 3 and 3.5: MMDiT and MMDiT-X.
//!
//! Paper: Scaling Rectified Flow Transformers, arXiv 2403.03206. Reference: diffusers at 58eb52c, Stability-AI/sd3.5 at
//! fbf8f48.

mod block;
mod config;
mod files;
mod keys;
mod pipeline;
mod text_encoders;
mod transformer;

pub use config::{QkNorm, Sd3Config};
pub use files::Sd3Files;
pub use pipeline::{Sd3, Sd3Pipeline};
pub use text_encoders::Sd3TextEncoders;
pub use transformer::{Sd3Conditioning, Sd3Transformer};
