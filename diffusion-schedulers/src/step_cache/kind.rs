//! Step caches by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use diffusion_core::SettingError;

use crate::named_options;

/// Whether and how work of earlier steps is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum StepCache {
    /// Every step computes everything.
    #[default]
    Off,
    /// [`FirstBlockCache`](super::FirstBlockCache): where the first block changes the image nearly as before, the other blocks
    /// are taken to do so too.
    FirstBlock {
        /// Largest relative change of what the first block adds: 0.05 in diffusers; at 0 nothing is used again.
        threshold: f64,
    },
    /// [`EasyCache`](super::EasyCache): where the velocity is expected to have changed little, the network is not evaluated.
    ///
    /// Reference: arXiv 2507.02860; `ComfyUI` `comfy_extras/nodes_easycache.py` at 0f548d2.
    Easy {
        /// Largest relative change of the velocity, as expected and added up since it was last computed: 0.2 in `ComfyUI`; at 0
        /// nothing is used again.
        threshold: f64,
        /// Share of the steps at the start that are always computed.
        start: f64,
        /// Share of the steps after which all are computed.
        stop: f64,
    },
}

impl StepCache {
    /// The first-block cache with the threshold of diffusers.
    pub const FIRST_BLOCK: Self = Self::FirstBlock { threshold: 0.05 };
    /// `EasyCache` with the settings of `ComfyUI`.
    pub const EASY: Self = Self::Easy { threshold: 0.2, start: 0.15, stop: 0.95 };

    /// Check the numbers.
    ///
    /// # Errors
    /// [`SettingError`] naming the one that is out of range.
    pub fn check(self) -> Result<(), SettingError> {
        let (threshold, window) = match self {
            Self::Off => return Ok(()),
            Self::FirstBlock { threshold } => (threshold, [0.0, 1.0]),
            Self::Easy { threshold, start, stop } => (threshold, [start, stop]),
        };
        if !(0.0..=1000.0).contains(&threshold) {
            return Err(SettingError::new("threshold of the step cache", "a number from 0 to 1000", threshold));
        }
        match window.into_iter().find(|share| !(0.0..=1.0).contains(share)) {
            Some(share) => Err(SettingError::new("start or stop of the step cache", "a share from 0 to 1", share)),
            None => Ok(()),
        }
    }
}

/// Names of the caches, with their default settings.
const NAMES: [(&str, StepCache); 3] =
    [("off", StepCache::Off), ("first-block", StepCache::FIRST_BLOCK), ("easy", StepCache::EASY)];

impl FromStr for StepCache {
    type Err = SettingError;

    /// The cache of this name, with its default settings.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        named_options::parse("step cache", &NAMES, text)
    }
}

impl Display for StepCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(named_options::name(&NAMES, self))
    }
}
