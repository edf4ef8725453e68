//! What to compute in, by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::{Device, FloatDType};
use diffusion_core::Precision;

use crate::device::DeviceName;

/// What to compute in, by its name: `f32`, `f16`, `bf16`, or `auto`. Weights are stored as published in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrecisionName {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// Brain floats.
    Bf16,
    /// f32 on a CPU; on a GPU the narrowest of bf16, f16 and f32 that it computes in.
    #[default]
    Auto,
}

/// A text is no [`PrecisionName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision; choose f32, f16, bf16 or auto")]
pub struct ParsePrecisionError(String);

impl PrecisionName {
    /// All names.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Auto];

    /// The precision that the name means on a device, opened from its name.
    pub fn on(self, name: DeviceName, device: &Device) -> Precision {
        match self {
            Self::F32 => Precision::f32(),
            Self::F16 => Precision::computing_in(FloatDType::F16),
            Self::Bf16 => Precision::computing_in(FloatDType::BF16),
            Self::Auto if name == DeviceName::Cpu => Precision::f32(),
            Self::Auto => Precision::narrowest_on(device),
        }
    }
}

impl Display for PrecisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Auto => "auto",
        })
    }
}

impl FromStr for PrecisionName {
    type Err = ParsePrecisionError;

    fn from_str(name: &str) -> Result<Self, ParsePrecisionError> {
        let found = Self::ALL.into_iter().find(|precision| precision.to_string() == name);
        found.ok_or_else(|| ParsePrecisionError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_read_as_they_are_printed() {
        for precision in PrecisionName::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let error = "f8".parse::<PrecisionName>().unwrap_err();
        assert_eq!(error.to_string(), "\"f8\" is no precision; choose f32, f16, bf16 or auto");
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_cpu_computes_in_f32_by_itself() {
        let (name, device) = (DeviceName::Cpu, DeviceName::Cpu.open().unwrap());
        assert_eq!(PrecisionName::Auto.on(name, &device), Precision::f32());
        assert_eq!(PrecisionName::Bf16.on(name, &device).compute, FloatDType::BF16);
    }
}
