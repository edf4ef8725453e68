//! The schedule of Karras et al.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::{ending_in_zero, linspace};
use super::sigma_range::SigmaRange;

/// Levels evenly spaced in `σ^(1/7)`: most steps go to low noise. It was made for the variance-exploding path. Images
/// of a flow suffer from it, because the velocities of a flow are hardest at high noise.
///
/// Reference: `ComfyUI` `comfy/k_diffusion/sampling.py#L20` at a125cd8; arXiv 2206.00364, equation 5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Karras {
    /// The ends.
    pub range: SigmaRange,
    /// The root: 7 in the paper. The higher, the more steps at low noise.
    pub rho: f64,
}

impl Karras {
    /// The paper's spacing between these ends.
    pub fn new(range: SigmaRange) -> Self {
        Self { range, rho: 7.0 }
    }
}

impl SigmaSchedule for Karras {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        if !(self.rho.is_finite() && self.rho > 0.0) {
            return Err(ScheduleError::Setting { setting: "rho", expected: "a positive number", found: self.rho });
        }
        let root = |sigma: f64| sigma.powf(1.0 / self.rho);
        let roots = linspace(root(self.range.highest()), root(self.range.lowest()), num_steps);
        ending_in_zero(roots.map(|root| root.powf(self.rho)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow_shift::FlowShift;
    use super::super::levels::assert_close;
    use super::super::sigma_table::SigmaTable;
    use super::*;

    #[test]
    fn levels_are_those_of_comfyui_and_of_diffusers() {
        let table = SigmaTable::flow(3.0).unwrap();
        assert_close(&Karras::new(SigmaRange::of_table(&table)).sigmas(4).unwrap(), &[1.0, 0.232_737, 0.036_832, 0.002_994, 0.0]);
        let inner = FlowShift::new(3.0).unwrap().sigmas(4).unwrap();
        assert_close(&Karras::new(SigmaRange::of(&inner)).sigmas(4).unwrap(), &[1.0, 0.286_694, 0.062_589, 0.008_929, 0.0]);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let range = SigmaRange::new(0.1, 1.0).unwrap();
        assert!(Karras { range, rho: 0.0 }.sigmas(4).is_err());
        assert!(Karras::new(range).sigmas(0).is_err());
        assert_close(&Karras::new(range).sigmas(1).unwrap(), &[1.0, 0.0]);
    }
}
