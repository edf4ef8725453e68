//! Noise levels on the command line.

use std::str::FromStr;

use diffusion_lora::train::{TimestepDensity, TimestepGrid, TimestepSampling, TimestepShift};
use diffusion_models::{TrainingAdvice, TrainingShift};

use crate::arguments::NoiseOptions;

/// A shift of noise levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ShiftName {
    None,
    Dynamic,
    Constant(f64),
}

impl FromStr for ShiftName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "dynamic" => Ok(Self::Dynamic),
            number => match number.parse() {
                Ok(shift) if (0.01..=100.0).contains(&shift) => Ok(Self::Constant(shift)),
                _ => Err("expected a number from 0.01 to 100, none or dynamic"),
            },
        }
    }
}

/// How noise levels are drawn.
pub(crate) fn timestep_sampling(options: &NoiseOptions, advice: &TrainingAdvice) -> TimestepSampling {
    let density = match options.timesteps {
        TimestepDensity::LogitNormal { .. } => {
            TimestepDensity::LogitNormal { mean: options.logit_mean, deviation: options.logit_std }
        }
        TimestepDensity::Mode { .. } => TimestepDensity::Mode { scale: options.mode_scale },
        TimestepDensity::Sigmoid { .. } => TimestepDensity::Sigmoid { scale: options.sigmoid_scale },
        other => other,
    };
    let shift = match (options.shift, advice.shift) {
        (Some(ShiftName::None), _) => TimestepShift::None,
        (Some(ShiftName::Dynamic), _) | (None, TrainingShift::ByResolution) => TimestepShift::BY_RESOLUTION,
        (Some(ShiftName::Constant(shift)), _) | (None, TrainingShift::Constant(shift)) => TimestepShift::Constant(shift),
    };
    let grid = if options.timestep_table { TimestepGrid::Table } else { TimestepGrid::Continuous };
    TimestepSampling { density, shift, grid }
}
