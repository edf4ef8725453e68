//! Samplers and schedules by name, for programs that let their users choose.
//!
//! ```
//! use diffusion_core::noise::BrownianTree;
//! use diffusion_schedulers::kind::{SamplerKind, SamplerSettings, ScheduleKind};
//! use diffusion_schedulers::schedules::SigmaTable;
//!
//! let model = SigmaTable::flow(3.0)?;
//! let settings = SamplerSettings::of(&model, BrownianTree::new(42));
//! let sampler = "dpmpp_2m_sde".parse::<SamplerKind>()?.build(&settings)?;
//! let schedule = "beta".parse::<ScheduleKind>()?;
//! if let Some(warning) = schedule.warning(&model) {
//!     eprintln!("{warning}");
//! }
//! let sigmas = schedule.build(&model)?.sigmas(20)?;
//! # let _ = (sampler, sigmas);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build_sampler;
mod build_schedule;
mod error;
mod named_kinds;
mod noise_shift;
mod sampler_kind;
mod schedule_kind;
mod warning;

pub use build_sampler::SamplerSettings;
pub use error::KindError;
pub use named_kinds::UnknownName;
pub use noise_shift::NoiseShift;
pub use sampler_kind::SamplerKind;
pub use schedule_kind::ScheduleKind;
pub use warning::{SamplerWarning, ScheduleWarning, Warning};
