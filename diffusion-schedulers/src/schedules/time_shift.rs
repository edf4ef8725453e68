//! The schedule that FLUX.1 was released with.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::flow_shift::FlowShift;
use super::levels::{ending_in_zero, linspace};

/// Levels 1, (N-1)/N .. 1/N, shifted once. With no shift (`mu` 0) it is the schedule of FLUX.1-schnell.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L646` and `pipeline_flux.py` at 58eb52c; flux
/// `sampling.py#L277-L302` at 802fb47.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeShift {
    shift: FlowShift,
}

impl TimeShift {
    /// `σ ↦ e^mu / (e^mu + 1/σ - 1)`, which is the [`FlowShift`] by `e^mu`.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if `e^mu` is no shift.
    pub fn exponential(mu: f64) -> Result<Self, ScheduleError> {
        let (setting, expected) = ("logarithm of the shift", "a number from -20.7 to 20.7");
        let shift = FlowShift::new(mu.exp()).map_err(|_| ScheduleError::Setting { setting, expected, found: mu })?;
        Ok(Self { shift })
    }

    /// `σ ↦ mu / (mu + 1/σ - 1)`: `time_shift_type="linear"` of diffusers.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if `mu` is no shift.
    pub fn linear(mu: f64) -> Result<Self, ScheduleError> {
        Ok(Self { shift: FlowShift::new(mu)? })
    }

    /// The shift itself.
    pub fn shift(&self) -> FlowShift {
        self.shift
    }
}

impl From<FlowShift> for TimeShift {
    fn from(shift: FlowShift) -> Self {
        Self { shift }
    }
}

impl SigmaSchedule for TimeShift {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        ending_in_zero(linspace(1.0, 1.0 / num_steps as f64, num_steps).map(|sigma| self.shift.apply(sigma)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::levels::assert_close;
    use super::*;

    #[test]
    fn levels_are_those_of_the_reference() {
        let of = |mu: f64, num_steps| TimeShift::exponential(mu).unwrap().sigmas(num_steps).unwrap();
        assert_close(&of(1.15, 4), &[1.0, 0.904_531, 0.759_511, 0.512_844, 0.0]);
        assert_close(&of(1.15, 8), &[1.0, 0.956_724, 0.904_531, 0.840_349, 0.759_511, 0.654_567, 0.512_844, 0.310_901, 0.0]);
        assert_close(&of(0.63, 4), &[1.0, 0.849_235, 0.652_489, 0.384_945, 0.0]);
        assert_close(&of(0.5, 4), &[1.0, 0.831_824, 0.622_459, 0.354_661, 0.0]);
        assert_close(&of(0.0, 4), &[1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_close(&of(0.0, 1), &[1.0, 0.0]);
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert!(TimeShift::exponential(f64::NAN).is_err() && TimeShift::exponential(1e4).is_err());
        assert!(TimeShift::linear(0.0).is_err() && TimeShift::exponential(1.0).unwrap().sigmas(0).is_err());
    }
}
