//! The timesteps that latent consistency models were distilled at.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::ending_in_zero;
use crate::variance_preserving::VariancePreserving;

/// Levels at timesteps that a latent consistency model was distilled at, evenly chosen from the highest on.
///
/// Reference: diffusers `scheduling_lcm.py` at 58eb52c (`set_timesteps`); arXiv 2310.04378.
#[derive(Clone, Debug, PartialEq)]
pub struct LcmTimesteps {
    /// The model.
    pub model: VariancePreserving,
    /// Number of timesteps of the distillation: 50.
    pub original_steps: usize,
}

impl LcmTimesteps {
    /// The released models' distillation.
    pub fn new(model: VariancePreserving) -> Self {
        Self { model, original_steps: 50 }
    }

    /// The timesteps of a run, falling.
    pub fn timesteps(&self, num_steps: usize) -> Vec<usize> {
        let stride = self.model.sigmas().len().checked_div(self.original_steps).unwrap_or(0);
        let chosen = (0..num_steps).map(|i| i as f64 * self.original_steps as f64 / num_steps as f64);
        chosen.map(|skipped| ((self.original_steps - skipped as usize) * stride).saturating_sub(1)).collect()
    }
}

impl SigmaSchedule for LcmTimesteps {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        let timesteps = self.timesteps(num_steps).into_iter();
        ending_in_zero(timesteps.map(|timestep| self.model.sigma(timestep as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_are_those_of_diffusers() {
        let schedule = LcmTimesteps::new(VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap());
        assert_eq!(schedule.timesteps(4), [999, 759, 499, 259]);
        assert_eq!(schedule.timesteps(1), [999]);
        assert!(schedule.sigmas(50).is_ok() && schedule.sigmas(51).is_err() && schedule.sigmas(0).is_err());
    }
}
