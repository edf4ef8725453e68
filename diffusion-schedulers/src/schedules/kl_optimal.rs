//! The schedule that "Align Your Steps" derives for a Gaussian.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::{ending_in_zero, linspace};
use super::sigma_range::SigmaRange;

/// Levels evenly spaced in `atan σ`: the optimum for a Gaussian target on the variance-exploding path.
///
/// Reference: `ComfyUI` `comfy/samplers.py` at a125cd8 (`kl_optimal_scheduler`); arXiv 2404.14507.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlOptimal {
    /// The ends.
    pub range: SigmaRange,
}

impl SigmaSchedule for KlOptimal {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        ending_in_zero(linspace(self.range.highest().atan(), self.range.lowest().atan(), num_steps).map(f64::tan))
    }
}

#[cfg(test)]
mod tests {
    use super::super::levels::assert_close;
    use super::super::sigma_table::SigmaTable;
    use super::*;

    #[test]
    fn levels_are_those_of_comfyui() {
        let range = SigmaRange::of_table(&SigmaTable::flow(3.0).unwrap());
        assert_close(&KlOptimal { range }.sigmas(4).unwrap(), &[1.0, 0.578_681_6, 0.270_089_6, 0.002_994, 0.0]);
        assert_close(&KlOptimal { range }.sigmas(1).unwrap(), &[1.0, 0.0]);
    }
}
