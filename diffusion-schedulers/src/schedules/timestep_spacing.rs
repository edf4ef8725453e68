//! The timesteps that diffusers samples variance-preserving models at.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

use super::levels::{ending_in_zero, linspace};
use crate::variance_preserving::VariancePreserving;

/// The levels of chosen timesteps of the training.
///
/// Reference: diffusers at 58eb52c: `scheduling_ddim.py#L358`, `scheduling_dpmsolver_multistep.py` (`set_timesteps`); table 2
/// of arXiv 2305.08891.
#[derive(Clone, Debug, PartialEq)]
pub struct TimestepSpacing {
    /// The model.
    pub model: VariancePreserving,
    /// Rule that chooses the timesteps.
    pub spacing: Spacing,
    /// Where they end.
    pub end: SpacingEnd,
}

/// Rules that choose timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly from the last timestep to the first, both included. Not rounded to whole timesteps.
    Linspace,
    /// Multiples of a whole number, from 0, plus an offset: 1 for Stable Diffusion.
    Leading {
        /// Added to every timestep.
        offset: usize,
    },
    /// Steps back from the last timestep: the best for few steps.
    Trailing,
}

/// The end of the timesteps, and with them of the levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpacingEnd {
    /// At the first timestep, then zero noise: DDIM and Euler of diffusers.
    First,
    /// One timestep of the spacing before that, rounded to whole timesteps, then zero noise: its multistep solvers with
    /// `final_sigmas_type="zero"`. Trailing timesteps stay.
    BeforeFirst,
    /// The same timesteps, then the lowest level of the training: `final_sigmas_type="sigma_min"`.
    BeforeFirstThenLowest,
}

impl TimestepSpacing {
    /// The timesteps of a run, falling.
    pub fn timesteps(&self, num_steps: usize) -> Vec<f64> {
        let len = self.model.sigmas().len();
        let last = (len - 1) as f64;
        let num = if self.end == SpacingEnd::First { num_steps } else { num_steps.saturating_add(1) };
        let falling: Vec<f64> = match self.spacing {
            Spacing::Linspace if self.end == SpacingEnd::First => linspace(last, 0.0, num).collect(),
            Spacing::Linspace => linspace(last, 0.0, num).map(f64::round_ties_even).collect(),
            Spacing::Leading { offset } => {
                let stride = len.checked_div(num).unwrap_or(0);
                (0..num).rev().map(|i| ((i * stride).saturating_add(offset)) as f64).collect()
            }
            Spacing::Trailing => {
                let stride = len as f64 / num_steps as f64;
                (0..num_steps).map(|i| (len as f64 - i as f64 * stride).round_ties_even() - 1.0).collect()
            }
        };
        falling.into_iter().take(num_steps).collect()
    }
}

impl SigmaSchedule for TimestepSpacing {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        let levels = self.timesteps(num_steps).into_iter().map(|timestep| self.model.sigma(timestep));
        match self.end {
            SpacingEnd::First | SpacingEnd::BeforeFirst => ending_in_zero(levels),
            SpacingEnd::BeforeFirstThenLowest => Sigmas::new(levels.chain([self.model.sigma(0.0)]).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timesteps(spacing: Spacing, end: SpacingEnd, num_steps: usize) -> Vec<f64> {
        let model = VariancePreserving::scaled_linear(0.00085, 0.012, 1000).unwrap();
        TimestepSpacing { model, spacing, end }.timesteps(num_steps)
    }

    /// `scheduler.timesteps` of `DDIMScheduler` and `DPMSolverMultistepScheduler` of diffusers 0.42.1; the first line is in
    /// `tests/schedulers/test_scheduler_ddim.py#L57` as well.
    #[test]
    fn timesteps_are_those_of_diffusers() {
        assert_eq!(timesteps(Spacing::Leading { offset: 1 }, SpacingEnd::First, 5), [801.0, 601.0, 401.0, 201.0, 1.0]);
        assert_eq!(timesteps(Spacing::Trailing, SpacingEnd::First, 4), [999.0, 749.0, 499.0, 249.0]);
        assert_eq!(timesteps(Spacing::Trailing, SpacingEnd::First, 3), [999.0, 666.0, 332.0]);
        assert_eq!(timesteps(Spacing::Linspace, SpacingEnd::First, 4), [999.0, 666.0, 333.0, 0.0]);
        assert_eq!(timesteps(Spacing::Linspace, SpacingEnd::BeforeFirst, 4), [999.0, 749.0, 500.0, 250.0]);
        assert_eq!(timesteps(Spacing::Leading { offset: 0 }, SpacingEnd::BeforeFirst, 4), [800.0, 600.0, 400.0, 200.0]);
        assert_eq!(timesteps(Spacing::Trailing, SpacingEnd::BeforeFirst, 4), [999.0, 749.0, 499.0, 249.0]);
    }

    #[test]
    fn impossible_numbers_of_steps_are_refused() {
        let model = VariancePreserving::linear(0.0001, 0.02, 1000).unwrap();
        for spacing in [Spacing::Linspace, Spacing::Leading { offset: 1 }, Spacing::Trailing] {
            let schedule = TimestepSpacing { model: model.clone(), spacing, end: SpacingEnd::BeforeFirst };
            assert!(schedule.sigmas(0).is_err() && schedule.sigmas(1).is_ok() && schedule.sigmas(2000).is_err());
        }
    }
}
