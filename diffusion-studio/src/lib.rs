//! A server in front of the models: a web page where people draw, a queue that is fair, and the protocols that other programs
//! speak.
//!
//! It stands on `diffusion-app`; nothing of the workspace stands on it but its program, `studio`. A [`Studio`] holds the models
//! and LoRAs ([`registry`]), the jobs ([`jobs`]) and a worker: one thread that owns the device. [`router`] puts the protocols in
//! front of it, and other programs can mount them.
//!
//! - A [`request::JobRequest`] is what a caller asks for; a [`request::Drawing`] is what it means, with nothing left open, so
//!   that the same drawing gives the same picture.
//! - Jobs last: they are in `SQLite` before a caller hears of them, and a server that was killed takes them up where they were.
//! - Users take turns ([`jobs::FairOrder`]), and every wait has a position and, once work was measured, an estimate.
//!
//! ```no_run
//! # #[cfg(feature = "embedded-model")]
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! use diffusion_studio::registry::ModelSource;
//! use diffusion_studio::{Studio, StudioConfig, router};
//!
//! let model = ModelSource::miniature()?;
//! let studio = Studio::start(StudioConfig::new("data".into(), vec![model])).await?;
//! let listener = tokio::net::TcpListener::bind(studio.config().listen).await?;
//! axum::serve(listener, router(&studio)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `flex` (default): Burn's CPU backend; `cuda`, `rocm`, `vulkan`, `metal`, `webgpu`: backends for GPUs.
//! - `embedded-model` (default): carries the miniature model, 15 MB.
//! - `hub` (default): downloads models by name.

mod api;
mod caches;
mod clock;
mod config;
mod fleet;
mod job_handle;
pub mod jobs;
mod operation;
mod page;
mod parameters;
mod preview;
mod refusal;
pub mod registry;
pub mod request;
mod router;
mod sampler_names;
mod security;
mod serve;
mod start;
mod studio;
mod submit;
mod worker;

pub use caches::{StoreUrl, StoreUrlError};
pub use config::{DEFAULT_PORT, Limits, Role, StudioConfig};
pub use fleet::{DatabaseUrl, FleetConfig, ReadUrlError};
pub use job_handle::{JobHandle, Lifetime};
pub use refusal::{Refusal, RefusalBody, RefusalKind};
pub use router::router;
pub use security::{Caller, Keys, ReadKeysError};
pub use serve::{serve, work};
pub use start::StartError;
pub use studio::Studio;
pub use submit::Submission;
