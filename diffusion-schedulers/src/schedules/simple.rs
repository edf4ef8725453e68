//! Every nth level of the training.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::ending_in_zero;
use super::sigma_table::SigmaTable;

/// Every nth level of the training, from the highest on.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`simple_scheduler`).
#[derive(Clone, Debug, PartialEq)]
pub struct Simple {
    /// The levels of the training.
    pub table: SigmaTable,
}

impl SigmaSchedule for Simple {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        let levels = self.table.as_slice();
        let stride = levels.len() as f64 / num_steps as f64;
        ending_in_zero((0..num_steps).map(|i| levels[levels.len() - 1 - (i as f64 * stride) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_comfyui() {
        let sd3 = Simple { table: SigmaTable::flow(3.0).unwrap() };
        assert_close(&sd3.sigmas(4).unwrap(), &[1.0, 0.9, 0.75, 0.5, 0.0]);
        assert_close(&sd3.sigmas(8).unwrap(), &[1.0, 0.954_545, 0.9, 0.833_333, 0.75, 0.642_857, 0.5, 0.3, 0.0]);
        let flux = Simple { table: SigmaTable::flux(1.15).unwrap() };
        assert_close(&flux.sigmas(4).unwrap(), &[1.0, 0.904_531, 0.759_511, 0.512_844, 0.0]);
    }

    #[test]
    fn more_steps_than_levels_are_refused() {
        let sd3 = Simple { table: SigmaTable::flow(3.0).unwrap() };
        assert!(sd3.sigmas(1000).is_ok());
        assert!(matches!(sd3.sigmas(1001), Err(ScheduleError::NotFalling { .. })));
        assert!(sd3.sigmas(0).is_err());
    }
}
