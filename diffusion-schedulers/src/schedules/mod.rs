//! Noise schedules: rules that turn a number of steps into noise levels, on the host, without tensors.
//!
//! | Schedule | needs | who uses it |
//! |---|---|---|
//! | [`FlowShift`] | shift | diffusers and Stability's code for Stable Diffusion 3 |
//! | [`TimeShift`], [`ResolutionShift`] | number of patches | diffusers and Black Forest Labs for FLUX.1 |
//! | [`Simple`], [`Normal`], [`SgmUniform`], [`DdimUniform`], [`Beta`], [`LinearQuadratic`] | [`SigmaTable`] | `ComfyUI` |
//! | [`Karras`], [`Exponential`], [`KlOptimal`], [`BetaSpacing`] | [`SigmaRange`] | k-diffusion, `ComfyUI`, diffusers |
//! | [`SolverFlow`] | shift | diffusers' DPM-Solver++ and `UniPC` |
//! | [`TimestepSpacing`], [`LcmTimesteps`] | [`SigmaTable`] | diffusers for Stable Diffusion 1 to XL |
//! | [`ShiftTerminal`], [`AsFlow`] | another schedule | changes its levels |
//! | [`CustomSigmas`] | the levels themselves | |
//!
//! [`ScheduleKind`](crate::kind::ScheduleKind) makes them from names.

mod as_flow;
mod beta;
mod custom;
mod ddim_uniform;
mod exponential;
mod flow_shift;
mod karras;
mod kl_optimal;
mod lcm_timesteps;
mod levels;
mod linear_quadratic;
mod normal;
mod resolution_shift;
mod scheduler_config;
mod shift_terminal;
mod sigma_range;
mod sigma_table;
mod simple;
mod solver_flow;
mod time_shift;
mod timestep_spacing;

pub use as_flow::AsFlow;
pub use beta::{Beta, BetaSpacing};
pub use custom::CustomSigmas;
pub use ddim_uniform::DdimUniform;
pub use exponential::Exponential;
pub use flow_shift::FlowShift;
pub use karras::Karras;
pub use kl_optimal::KlOptimal;
pub use lcm_timesteps::LcmTimesteps;
pub use linear_quadratic::LinearQuadratic;
pub use normal::{Normal, SgmUniform};
pub use resolution_shift::ResolutionShift;
pub use scheduler_config::SchedulerConfig;
pub use shift_terminal::ShiftTerminal;
pub use sigma_range::SigmaRange;
pub use sigma_table::SigmaTable;
pub use simple::Simple;
pub use solver_flow::SolverFlow;
pub use time_shift::TimeShift;
pub use timestep_spacing::{Spacing, SpacingEnd, TimestepSpacing};
