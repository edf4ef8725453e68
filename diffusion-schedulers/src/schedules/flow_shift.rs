//! The schedule that Stable Diffusion 3 was released with.

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

/// Evenly spaced noise levels, moved towards noise by a constant shift: `S(σ) = a σ / (1 + (a - 1) σ)`.
///
/// The ends of the spacing are already shifted levels (1 and `S(0.001)`), and are shifted again with the rest, as the
/// reference does: with shift 3 and four steps the levels are 1, 0.857692, 0.602151, 0.008929, 0.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L127-L382` at 58eb52c, `use_dynamic_shifting=False`;
/// the same numbers come from Stability-AI/sd3.5 `sd3_infer.py#L295`. SD3 paper: arXiv 2403.03206, section 5.3.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowShift {
    shift: f64,
}

impl FlowShift {
    /// Noise levels of the training: 1/1000, 2/1000 .. 1.
    const TRAINING_STEPS: f64 = 1000.0;

    /// The largest shift. Beyond it, and below its inverse, not even levels that are shifted once can be told apart.
    pub const LARGEST: f64 = 1e9;

    /// A schedule with this shift: 3 for the released models, 1 for none.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if the shift is not between the inverse of [`LARGEST`](Self::LARGEST) and it.
    pub fn new(shift: f64) -> Result<Self, ScheduleError> {
        if (1.0 / Self::LARGEST..=Self::LARGEST).contains(&shift) {
            Ok(Self { shift })
        } else {
            Err(ScheduleError::Setting { setting: "shift", expected: "a number from 1e-9 to 1e9", found: shift })
        }
    }

    /// The shift.
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// The shifted level of `sigma`.
    pub fn apply(&self, sigma: f64) -> f64 {
        self.shift * sigma / (1.0 + (self.shift - 1.0) * sigma)
    }
}

impl SigmaSchedule for FlowShift {
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        if num_steps == 0 {
            return Err(ScheduleError::TooFew { found: 1 });
        }
        let last = self.apply(1.0 / Self::TRAINING_STEPS);
        let spacing = |i: usize| if i == 0 { 1.0 } else { 1.0 + (last - 1.0) * i as f64 / (num_steps - 1) as f64 };
        let levels = (0..num_steps).map(|i| self.apply(spacing(i)));
        Sigmas::new(levels.chain([0.0]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that diffusers 0.42.1 computes.
    #[test]
    fn levels_are_those_of_the_reference() {
        let check = |shift: f64, expected: &[f64]| {
            let found = FlowShift::new(shift).unwrap().sigmas(expected.len() - 1).unwrap();
            for (found, expected) in found.as_slice().iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        };
        check(3.0, &[1.0, 0.857_692, 0.602_151, 0.008_929, 0.0]);
        check(3.0, &[1.0, 0.900_359, 0.751_121, 0.502_985, 0.008_929, 0.0]);
        check(3.0, &[1.0, 0.947_543, 0.882_788, 0.800_837, 0.693_793, 0.548_046, 0.337_972, 0.008_929, 0.0]);
        check(1.0, &[1.0, 0.667, 0.334, 0.001, 0.0]);
        check(3.0, &[1.0, 0.0]);
    }

    #[test]
    fn impossible_settings_are_refused() {
        for (shift, words) in
            [(0.0, "0"), (-3.0, "-3"), (f64::NAN, "NaN"), (f64::INFINITY, "inf"), (1e300, "1e300"), (1e-300, "1e-300")]
        {
            let said = FlowShift::new(shift).unwrap_err().to_string();
            assert_eq!(said, format!("shift is {words}, expected a number from 1e-9 to 1e9"));
        }
        // Stronger ones are applied alone, or with few steps.
        for shift in [1e-9, 1e3] {
            assert!([1, 28, 1000].into_iter().all(|steps| FlowShift::new(shift).unwrap().sigmas(steps).is_ok()), "{shift}");
        }
        assert_eq!(FlowShift::new(3.0).unwrap().sigmas(0), Err(ScheduleError::TooFew { found: 1 }));
    }
}
