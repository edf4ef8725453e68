//! What works, but not well.

use std::fmt::{self, Display};

use diffusion_schedulers::kind::{SamplerWarning, ScheduleWarning};

/// A choice that works, but not well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The sampler does not suit the model or the noise levels.
    Sampler(SamplerWarning),
    /// The schedule does not suit the model.
    Schedule(ScheduleWarning),
}

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sampler(warning) => warning.fmt(f),
            Self::Schedule(warning) => warning.fmt(f),
        }
    }
}
