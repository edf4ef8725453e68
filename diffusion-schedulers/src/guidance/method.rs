//! How conditional and unconditional velocity become one.

use std::fmt::{self, Display};
use std::str::FromStr;

use diffusion_core::SettingError;

use super::interval::GuidanceInterval;
use crate::named_options;

/// How conditional and unconditional velocity become one. The scale is a setting of its own.
///
/// The default is plain classifier-free guidance at all noise levels.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Guidance {
    /// The formula.
    pub method: GuidanceMethod,
    /// Share, from 0 to 1, to which the guided velocity gets the deviation of the conditional one: 0 for none, 0.7 in the
    /// paper. See [`rescale`](super::rescale).
    pub rescale: f64,
    /// Noise levels at which to guide, in place of all.
    pub interval: Option<GuidanceInterval>,
    /// How both passes are run.
    pub evaluation: GuidanceEvaluation,
}

/// The formula of guidance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum GuidanceMethod {
    /// [Classifier-free guidance](super::classifier_free).
    #[default]
    ClassifierFree,
    /// [CFG-Zero*](super::CfgZeroStar).
    ZeroStar {
        /// Number of steps at the start without movement: 1 in the reference.
        zero_steps: usize,
    },
    /// [Adaptive projected guidance](super::AdaptiveProjectedGuidance).
    AdaptiveProjected {
        /// Share that is kept of the guidance parallel to the image: 0 in the paper.
        eta: f64,
        /// Longest guidance, if there is a limit.
        norm_threshold: Option<f64>,
        /// Share of the past guidance that is added: negative in the paper.
        momentum: f64,
    },
}

/// Names of the formulas, with their default settings.
const METHODS: [(&str, GuidanceMethod); 3] = [
    ("cfg", GuidanceMethod::ClassifierFree),
    ("zero-star", GuidanceMethod::ZeroStar { zero_steps: 1 }),
    ("apg", GuidanceMethod::AdaptiveProjected { eta: 0.0, norm_threshold: None, momentum: 0.0 }),
];

impl FromStr for GuidanceMethod {
    type Err = SettingError;

    /// The formula of this name, with its default settings.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        named_options::parse("guidance", &METHODS, text)
    }
}

impl Display for GuidanceMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(named_options::name(&METHODS, self))
    }
}

/// How the conditional and the unconditional pass are run. The image is the same but for the order in which products are summed:
/// in f32 a PSNR of more than 90 dB between the two, 124 dB and more on the fixtures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum GuidanceEvaluation {
    /// Both as one batch, which is faster on most devices.
    #[default]
    Batched,
    /// One after the other, which takes half of the memory for activations.
    Sequential,
}

impl Guidance {
    /// Check the numbers.
    ///
    /// # Errors
    /// [`SettingError`] naming the one that is out of range.
    pub fn check(&self) -> Result<(), SettingError> {
        if !(0.0..=1.0).contains(&self.rescale) {
            return Err(SettingError::new("guidance rescale", "a share from 0 to 1", self.rescale));
        }
        if let Some(GuidanceInterval { start, end }) = self.interval
            && !(start >= 0.0 && start < end && end.is_finite())
        {
            let expected = "two noise levels from 0 on, the lower one first";
            return Err(SettingError::new("guidance interval", expected, format!("{start},{end}")));
        }
        let GuidanceMethod::AdaptiveProjected { eta, norm_threshold, momentum } = self.method else { return Ok(()) };
        if !(-10.0..=10.0).contains(&eta) {
            return Err(SettingError::new("eta of projected guidance", "a number from -10 to 10", eta));
        }
        if let Some(threshold) = norm_threshold.filter(|threshold| !(threshold.is_finite() && *threshold > 0.0)) {
            return Err(SettingError::new("norm threshold of projected guidance", "a number above 0", threshold));
        }
        if momentum.is_nan() || momentum.abs() >= 1.0 {
            return Err(SettingError::new("guidance momentum", "a number between -1 and 1", momentum));
        }
        Ok(())
    }
}
