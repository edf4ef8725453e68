//! Shifts that depend on the size of the image, such as FLUX.1-dev's.

use diffusion_core::ScheduleError;

use super::time_shift::TimeShift;

/// A shift towards noise that grows with the image: `e^mu / (e^mu + 1/σ - 1)`, `mu` linear in the number of patches.
///
/// Reference: black-forest-labs/flux `sampling.py#L277-L302` at 802fb47; diffusers `pipeline_flux.py#L73`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResolutionShift {
    /// `mu` at either of the token counts.
    pub shifts: [f64; 2],
    /// Two numbers of patches (16 x 16 pixels each).
    pub token_counts: [usize; 2],
}

impl ResolutionShift {
    /// FLUX.1-dev's: 0.5 at 256 patches, 1.15 at 4096.
    pub fn flux() -> Self {
        Self { shifts: [0.5, 1.15], token_counts: [256, 4096] }
    }

    /// The shift of diffusers' pipeline of Stable Diffusion 3, if its schedule shifts by resolution: 0.5 at 256 patches, 1.16
    /// at 4096. The released models have a constant shift.
    ///
    /// Reference: diffusers `pipeline_stable_diffusion_3.py#L1021` at 58eb52c.
    pub fn sd3() -> Self {
        Self { shifts: [0.5, 1.16], ..Self::flux() }
    }

    /// The shift for a number of patches.
    pub fn mu(&self, tokens: usize) -> f64 {
        let [low, high] = self.token_counts.map(|count| count as f64);
        let slope = (self.shifts[1] - self.shifts[0]) / (high - low);
        slope * tokens as f64 + self.shifts[0] - slope * low
    }

    /// The shifted level of `sigma` for a number of patches.
    pub fn apply(&self, sigma: f64, tokens: usize) -> f64 {
        let shift = self.mu(tokens).exp();
        shift / (shift + (1.0 / sigma - 1.0))
    }

    /// The schedule for a number of patches.
    ///
    /// # Errors
    /// [`ScheduleError::Setting`] if the settings give no shift that can be drawn with, as for enormous images.
    pub fn schedule(&self, tokens: usize) -> Result<TimeShift, ScheduleError> {
        TimeShift::exponential(self.mu(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffusion_core::SigmaSchedule;

    /// Values that diffusers 0.42.1 computes.
    #[test]
    fn levels_are_those_of_the_reference() {
        let check = |tokens: usize, expected: [f64; 4]| {
            for (i, expected) in expected.into_iter().enumerate() {
                let found = ResolutionShift::flux().apply(1.0 - i as f64 / 4.0, tokens);
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        };
        check(4096, [1.0, 0.904_531, 0.759_511, 0.512_844]);
        check(1024, [1.0, 0.849_235, 0.652_489, 0.384_945]);
        check(256, [1.0, 0.831_824, 0.622_459, 0.354_661]);
    }

    #[test]
    fn a_number_of_patches_gives_a_schedule() {
        let schedule = ResolutionShift::flux().schedule(1024).unwrap();
        super::super::levels::assert_close(&schedule.sigmas(4).unwrap(), &[1.0, 0.849_235, 0.652_489, 0.384_945, 0.0]);
        let nowhere = ResolutionShift { token_counts: [256, 256], ..ResolutionShift::flux() };
        assert!(nowhere.schedule(1024).is_err());
    }
}
