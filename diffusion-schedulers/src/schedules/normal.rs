//! Evenly spaced timesteps.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::{ending_in_zero, linspace};
use super::sigma_table::SigmaTable;

/// Evenly spaced timesteps from the first to the last of the training, then zero. For flows the ends are shifted levels, which
/// it shifts again. On flows it is therefore [`FlowShift`](super::FlowShift).
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`normal_scheduler`).
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    /// The levels of the training.
    pub table: SigmaTable,
}

/// Evenly spaced timesteps without the last one, then zero.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`normal_scheduler` with `sgm=True`).
#[derive(Clone, Debug, PartialEq)]
pub struct SgmUniform {
    /// The levels of the training.
    pub table: SigmaTable,
}

/// Evenly spaced levels between the ends of the table, both included.
fn evenly(table: &SigmaTable, num: usize) -> impl Iterator<Item = f64> {
    linspace(table.timestep(table.highest()), table.timestep(table.lowest()), num).map(|timestep| table.sigma(timestep))
}

impl SigmaSchedule for Normal {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        /// A lowest level below this is as good as zero and ends the run.
        const AS_GOOD_AS_ZERO: f64 = 1e-5;
        let lowest = self.table.sigma(self.table.timestep(self.table.lowest()));
        if lowest <= AS_GOOD_AS_ZERO {
            return Sigmas::new(evenly(&self.table, num_steps.saturating_add(1)).collect());
        }
        ending_in_zero(evenly(&self.table, num_steps))
    }
}

impl SigmaSchedule for SgmUniform {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        ending_in_zero(evenly(&self.table, num_steps.saturating_add(1)).take(num_steps))
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow_shift::FlowShift;
    use super::super::levels::assert_close;
    use super::*;
    use crate::variance_preserving::VariancePreserving;

    #[test]
    fn levels_are_those_of_comfyui() {
        let table = SigmaTable::flow(3.0).unwrap();
        let expected = FlowShift::new(3.0).unwrap().sigmas(4).unwrap();
        assert_close(&expected, &[1.0, 0.857_692, 0.602_151, 0.008_929, 0.0]);
        assert_close(&Normal { table: table.clone() }.sigmas(4).unwrap(), expected.as_slice());
        assert_close(&SgmUniform { table }.sigmas(4).unwrap(), &[1.0, 0.900_359, 0.751_121, 0.502_985, 0.0]);
    }

    /// FLUX.1-dev, and Stable Diffusion 1 with its tolerance in single precision.
    #[test]
    fn levels_of_other_models_are_those_of_comfyui() {
        let table = SigmaTable::flux(1.15).unwrap();
        assert_close(&Normal { table: table.clone() }.sigmas(4).unwrap(), &[1.0, 0.863_376_4, 0.612_492_1, 0.000_996_5, 0.0]);
        assert_close(&SgmUniform { table }.sigmas(4).unwrap(), &[1.0, 0.904_567_1, 0.759_626_3, 0.513_159_6, 0.0]);
        let model = VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap();
        let found = Normal { table: SigmaTable::variance_preserving(&model) }.sigmas(4).unwrap();
        for (found, expected) in found.as_slice().iter().zip([14.614_640, 2.918_307, 0.932_358, 0.029_167, 0.0]) {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_table_that_reaches_zero_needs_none_appended() {
        let table = SigmaTable::flow(1e-6).unwrap();
        assert_eq!(Normal { table }.sigmas(3).unwrap().num_steps(), 3);
    }
}
