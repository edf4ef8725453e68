//! The shift of noise levels, by name or number.

use std::fmt::{self, Display};
use std::str::FromStr;

use diffusion_core::SettingError;

/// How far noise levels are moved towards noise.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "String", into = "String"))]
pub enum NoiseShift {
    /// By this factor: 1 for not at all.
    Constant(f64),
    /// The further, the larger the image, as FLUX.1-dev has it.
    ByResolution,
}

/// The name of [`NoiseShift::ByResolution`].
const BY_RESOLUTION: &str = "dynamic";

impl FromStr for NoiseShift {
    type Err = SettingError;

    /// A number, or `dynamic`.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        if text == BY_RESOLUTION {
            return Ok(Self::ByResolution);
        }
        let expected = || SettingError::new("shift", format!("a number, or \"{BY_RESOLUTION}\""), text);
        text.parse().map(Self::Constant).map_err(|_| expected())
    }
}

impl TryFrom<String> for NoiseShift {
    type Error = SettingError;

    fn try_from(text: String) -> Result<Self, SettingError> {
        text.parse()
    }
}

impl Display for NoiseShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(shift) => shift.fmt(f),
            Self::ByResolution => f.pad(BY_RESOLUTION),
        }
    }
}

impl From<NoiseShift> for String {
    fn from(shift: NoiseShift) -> Self {
        shift.to_string()
    }
}
