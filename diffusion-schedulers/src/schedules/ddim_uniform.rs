//! Every nth level of the training, counted from the lowest.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::sigma_table::SigmaTable;

/// Every nth level of the training, counted from the second lowest, then zero. It may start below the highest level, and may
/// have one step more than the number given.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`ddim_scheduler`).
#[derive(Clone, Debug, PartialEq)]
pub struct DdimUniform {
    /// The levels of the training.
    pub table: SigmaTable,
}

impl SigmaSchedule for DdimUniform {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        /// A level below this is as good as zero and ends the run.
        const AS_GOOD_AS_ZERO: f64 = 1e-5;
        if num_steps == 0 {
            return Err(ScheduleError::TooFew { found: 1 });
        }
        let levels = self.table.as_slice();
        let reaches_zero = levels[1] <= AS_GOOD_AS_ZERO;
        let num_steps = if reaches_zero { num_steps.saturating_add(1) } else { num_steps };
        let mut chosen: Vec<f64> = levels[1..].iter().copied().step_by((levels.len() / num_steps).max(1)).collect();
        chosen.reverse();
        if !reaches_zero {
            chosen.push(0.0);
        }
        Sigmas::new(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_comfyui() {
        let sd3 = DdimUniform { table: SigmaTable::flow(3.0).unwrap() };
        assert_close(&sd3.sigmas(4).unwrap(), &[0.900_958_5, 0.751_497, 0.502_659_6, 0.005_976_1, 0.0]);
        let seven = [0.999_332_4, 0.936_936_9, 0.856_775_3, 0.75, 0.600_719_4, 0.377_245_5, 0.005_976_1, 0.0];
        assert_close(&sd3.sigmas(6).unwrap(), &seven);
        let flux = DdimUniform { table: SigmaTable::flux(1.15).unwrap() };
        assert_close(&flux.sigmas(3).unwrap(), &[0.863_391_3, 0.612_445_4, 0.000_631_4, 0.0]);
        assert!(sd3.sigmas(0).is_err() && sd3.sigmas(5000).is_ok());
    }
}
