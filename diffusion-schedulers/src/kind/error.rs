//! Why a choice of sampler or schedule is refused.

use diffusion_core::ScheduleError;

use super::named_kinds::UnknownName;
use super::schedule_kind::ScheduleKind;
use crate::path::NoisePath;

/// Why a choice of sampler or schedule is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KindError {
    /// There is no sampler or schedule of this name.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// The schedule has no meaning for the model.
    #[error("the schedule \"{schedule}\" is for {} models, not for {} ones", family(*needs), family(*found))]
    UnsuitableSchedule {
        /// The schedule.
        schedule: ScheduleKind,
        /// The path of the models that it is for.
        needs: NoisePath,
        /// The path of the model.
        found: NoisePath,
    },
    /// A setting is outside its range.
    #[error(transparent)]
    Setting(#[from] ScheduleError),
}

fn family(path: NoisePath) -> &'static str {
    match path {
        NoisePath::Flow => "flow",
        NoisePath::VarianceExploding => "variance-preserving",
    }
}
