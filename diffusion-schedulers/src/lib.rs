//! Sampling for diffusion and flow models on [Burn](burn), in independent parts: noise schedules (numbers), samplers (integrators),
//! guidance (velocities in, a velocity out), and step caches (velocities of earlier steps).
//!
//! The crate knows no model. It samples anything that gives a velocity. It sits on `diffusion-core`, whose traits
//! [`Sampler`](diffusion_core::Sampler) and [`SigmaSchedule`](diffusion_core::SigmaSchedule) it implements, and below
//! `diffusion-models`, whose pipelines choose from it.
//!
//! - [`schedules`]: from a number of steps to noise levels.
//! - [`samplers`]: along noise levels, from noise to an image. Stochastic samplers take their noise from a
//!   [`NoiseSource`](diffusion_core::noise::NoiseSource).
//! - [`guidance`]: combinations of velocities.
//! - [`step_cache`]: work of earlier steps that is used again.
//! - [`InitLatents`]: runs that start from an image, whole or under a mask.
//! - [`path`] and [`variance_preserving`]: the model as samplers see it, a flow or a network that predicts noise or `v` and is
//!   sampled as a velocity field.
//! - [`kind`]: samplers and schedules by name.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use burn::tensor::Tensor;
//! use diffusion_core::{Sampler, SamplerRun, SigmaSchedule};
//! use diffusion_schedulers::{samplers::Euler, schedules::FlowShift};
//!
//! let sigmas = FlowShift::new(3.0)?.sigmas(4)?;
//! let end = Euler.sample(SamplerRun {
//!     // The flow that carries everything to 3: velocity = (x - 3) / sigma.
//!     velocity: &mut |at| Ok((at.latents - 3.0) / at.sigma),
//!     latents: Tensor::from_floats([[[[1.0]]]], &Default::default()),
//!     sigmas: &sigmas,
//!     on_step: &mut |step| {
//!         println!("step {} of {}", step.index + 1, step.num_steps);
//!         ControlFlow::Continue(())
//!     },
//! })?;
//! assert!((end.into_scalar::<f32>() - 3.0).abs() < 1e-5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `serde`: [`SamplerKind`](kind::SamplerKind) and [`ScheduleKind`](kind::ScheduleKind) by their names, the options in
//!   [`guidance`] that settings hold, and [`Sigmas`](diffusion_core::Sigmas), serialized and deserialized. Off by default.

pub mod guidance;
mod init_latents;
pub mod kind;
mod named_options;
pub mod path;
pub mod samplers;
pub mod schedules;
pub mod step_cache;
pub mod variance_preserving;

pub use init_latents::{InitLatents, Inpainting};
