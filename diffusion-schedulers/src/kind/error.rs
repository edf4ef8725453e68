//! What can be wrong with a choice.

use diffusion_core::ScheduleError;

use super::{SamplerKind, ScheduleKind};
use crate::path::NoisePath;

/// Why a choice of sampler or schedule is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KindError {
    /// There is no sampler of this name.
    #[error("there is no sampler \"{name}\"; there are {}", list(SamplerKind::ALL))]
    UnknownSampler {
        /// The name.
        name: String,
    },
    /// There is no schedule of this name.
    #[error("there is no schedule \"{name}\"; there are {}", list(ScheduleKind::ALL))]
    UnknownSchedule {
        /// The name.
        name: String,
    },
    /// The schedule has no meaning for the model.
    #[error("the schedule \"{schedule}\" is for {} models, not for {} ones", family(*needs), family(*found))]
    UnsuitableSchedule {
        /// The schedule.
        schedule: ScheduleKind,
        /// What it is for.
        needs: NoisePath,
        /// What the model is.
        found: NoisePath,
    },
    /// A setting is outside its range.
    #[error(transparent)]
    Setting(#[from] ScheduleError),
}

/// A sampler that works but is not a good choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SamplerWarning {
    /// The sampler trusts the network's first picture, which only a distilled network, drawing without guidance, gets right.
    NeedsDistillation {
        /// The sampler.
        sampler: SamplerKind,
    },
    /// The sampler takes steps by their length in the logarithm of signal over noise, which has no bounds in a flow.
    PoorOnFlow {
        /// The sampler.
        sampler: SamplerKind,
    },
    /// The sampler extrapolates from the step before over a step that is many times longer.
    Overshoots {
        /// The sampler.
        sampler: SamplerKind,
        /// Noise level before the long step.
        from: f64,
        /// Noise level after it.
        to: f64,
    },
}

impl std::fmt::Display for SamplerWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeedsDistillation { sampler } => write!(
                f,
                "the sampler \"{sampler}\" is for models that were distilled to draw in few steps without guidance; try \"euler\""
            ),
            Self::PoorOnFlow { sampler } => {
                write!(f, "the sampler \"{sampler}\" takes too much of the long steps at the ends of flow models; try \"uni_pc\"")
            }
            Self::Overshoots { sampler, from, to } => write!(
                f,
                "the sampler \"{sampler}\" overshoots in the long step from sigma {from:.3} to {to:.3}; try the schedule \"simple\" or more steps"
            ),
        }
    }
}

/// A schedule that works but is not a good choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleWarning {
    /// The schedule puts most steps at low noise, where flows need few.
    LowNoiseOnFlow {
        /// The schedule.
        schedule: ScheduleKind,
    },
    /// The schedule begins below the level of pure noise, which a flow is started from.
    BelowNoise {
        /// The schedule.
        schedule: ScheduleKind,
    },
}

impl std::fmt::Display for ScheduleWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LowNoiseOnFlow { schedule } => write!(
                f,
                "the schedule \"{schedule}\" spends most steps at low noise, which harms flow models; try \"simple\" or \"beta\""
            ),
            Self::BelowNoise { schedule } => write!(
                f,
                "the schedule \"{schedule}\" begins below pure noise, which flow models start from; try \"simple\" or \"beta\""
            ),
        }
    }
}

fn list<T: ToString>(kinds: &[T]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn family(path: NoisePath) -> &'static str {
    match path {
        NoisePath::Flow => "flow",
        NoisePath::VarianceExploding => "variance-preserving",
    }
}
