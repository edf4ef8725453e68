//! Noise levels on the command line.

use diffusion_lora::train::{TimestepDensity, TimestepGrid, TimestepSampling, TimestepShift};
use diffusion_models::{TrainingAdvice, TrainingShift};

use crate::arguments::NoiseOptions;
use crate::shift::ShiftName;

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
