//! What to compute in, by name.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::{Device, FloatDType};
use diffusion_core::{Precision, Products};
use diffusion_models::Pipeline;

use crate::device::DeviceName;

/// What to compute in, by its name: `f32`, `f16`, `bf16`, or `auto`. Weights are stored as published in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrecisionName {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// Brain floats; on a CPU for products, whose sums and all other numbers are f32.
    Bf16,
    /// On a GPU the narrowest of bf16, f16 and f32 that it computes in. On a CPU f32, with products of bf16 where these are faster
    /// and the model is stored in 16 bits a number or fewer: see [`PrecisionName::for_model`].
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

    /// The precision that the name means on a device, opened from its name, whatever the model.
    pub fn on(self, name: DeviceName, device: &Device) -> Precision {
        match self {
            Self::F32 => Precision::f32(),
            Self::F16 => Precision::computing_in(FloatDType::F16),
            Self::Bf16 if name == DeviceName::Cpu => Precision::bf16_products(),
            Self::Bf16 => Precision::computing_in(FloatDType::BF16),
            Self::Auto if name == DeviceName::Cpu => Precision::f32(),
            Self::Auto => Precision::narrowest_on(device),
        }
    }

    /// The precision that the name means for a model on the device that it was opened for, from the device's name.
    ///
    /// It differs from [`on`](Self::on) where the model decides: `auto` on a CPU.
    pub fn for_model(self, name: DeviceName, pipeline: &Pipeline) -> Precision {
        let decides = self == Self::Auto && name == DeviceName::Cpu;
        if decides && Products::bf16_are_faster() && pipeline.is_stored_narrow() {
            return Precision::bf16_products();
        }
        self.on(name, pipeline.device())
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
        assert_eq!(PrecisionName::Bf16.on(name, &device), Precision::bf16_products());
        assert_eq!(PrecisionName::F16.on(name, &device).compute, FloatDType::F16);
    }
}
