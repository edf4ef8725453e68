//! Sampling, split into three independent ideas: noise schedules (numbers), samplers (integrators) and guidance
//! (velocity in, velocity out).
//!
//! The crate knows no model: anything that gives a velocity can be sampled. It sits on `diffusion-core`, whose traits
//! [`Sampler`](diffusion_core::Sampler) and [`SigmaSchedule`](diffusion_core::SigmaSchedule) it implements.
//!
//! - [`schedules`]: numbers of steps to noise levels.
//! - [`samplers`]: along noise levels from noise to a picture. Those that add noise take it from a
//!   [`NoiseSource`](diffusion_core::noise::NoiseSource).
//! - [`guidance`]: combinations of velocities.
//! - [`path`] and [`variance_preserving`]: what samplers need to know of a model: a flow, or a network that predicts noise or
//!   `v` and is sampled as a velocity field.
//! - [`kind`]: samplers and schedules by name.
//!
//! ```
//! use std::ops::ControlFlow;
//! use burn::tensor::Tensor;
//! use diffusion_core::{Sampler, SigmaSchedule};
//! use diffusion_schedulers::{samplers::Euler, schedules::FlowShift};
//!
//! // The flow that carries everything to 3: velocity = (x - 3) / sigma.
//! let start = Tensor::<4>::from_floats([[[[1.0]]]], &Default::default());
//! let sigmas = FlowShift::new(3.0)?.sigmas(4)?;
//! let mut velocity = |x: Tensor<4>, sigma: f64| (x - 3.0) / sigma;
//! let end = Euler.sample(&mut velocity, start, &sigmas, &mut |_| ControlFlow::Continue(()))?;
//! assert!((end.into_scalar::<f32>() - 3.0).abs() < 1e-5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod guidance;
pub mod kind;
pub mod path;
pub mod samplers;
pub mod schedules;
pub mod variance_preserving;
