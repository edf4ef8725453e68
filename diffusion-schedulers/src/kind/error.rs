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

/// A choice that works but is not a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleWarning {
    /// The schedule puts most steps at low noise, where flows need few.
    LowNoiseOnFlow {
        /// The schedule.
        schedule: ScheduleKind,
    },
}

impl std::fmt::Display for ScheduleWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::LowNoiseOnFlow { schedule } = self;
        write!(
            f,
            "the schedule \"{schedule}\" spends most steps at low noise, which harms flow models; try \"simple\" or \"beta\""
        )
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
