//! Levels in equal ratios.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::{ending_in_zero, linspace};
use super::sigma_range::SigmaRange;

/// Every level is the same fraction of the one before: even in `ln σ`. diffusers calls it `lu_lambdas` as well.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L29` at a125cd8; arXiv 2206.00927.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    /// The ends.
    pub range: SigmaRange,
}

impl SigmaSchedule for Exponential {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        ending_in_zero(linspace(self.range.highest().ln(), self.range.lowest().ln(), num_steps).map(f64::exp))
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow_shift::FlowShift;
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_diffusers() {
        let range = SigmaRange::of(&FlowShift::new(3.0).unwrap().sigmas(4).unwrap());
        assert_close(&Exponential { range }.sigmas(4).unwrap(), &[1.0, 0.207_457, 0.043_038, 0.008_929, 0.0]);
    }
}
