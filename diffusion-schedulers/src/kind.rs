//! Samplers and schedules by name, for programs that let their users choose.
//!
//! ```
//! use diffusion_core::noise::BrownianTree;
//! use diffusion_schedulers::kind::{SamplerKind, SamplerSettings, ScheduleKind};
//! use diffusion_schedulers::schedules::SigmaTable;
//!
//! let model = SigmaTable::flow(3.0)?;
//! let sampler = "dpmpp_2m_sde".parse::<SamplerKind>()?.build(&SamplerSettings::of(&model, BrownianTree::new(42)))?;
//! let schedule = "beta".parse::<ScheduleKind>()?;
//! if let Some(warning) = schedule.warning(&model) {
//!     eprintln!("{warning}");
//! }
//! let sigmas = schedule.build(&model)?.sigmas(20)?;
//! # let _ = (sampler, sigmas);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod sampler_kind;
mod schedule_kind;

pub use error::{KindError, SamplerWarning, ScheduleWarning};
pub use sampler_kind::{SamplerKind, SamplerSettings};
pub use schedule_kind::ScheduleKind;

/// An enum of names: `FromStr`, `Display`, and the list of all.
macro_rules! named_kinds {
    ($(#[$doc:meta])* $kind:ident, $unknown:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that [`FromStr`](std::str::FromStr) knows it by.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::kind::KindError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
                found.ok_or_else(|| $crate::kind::KindError::$unknown { name: name.to_owned() })
            }
        }
    };
}
use named_kinds;
