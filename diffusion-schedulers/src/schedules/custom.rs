//! Levels that the caller chose.

use std::str::FromStr;

use diffusion_core::{ScheduleError, SigmaSchedule, Sigmas};

/// Levels that the caller chose, for runs of exactly their number of steps. It parses lists such as `1, 0.8, 0.4, 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomSigmas(pub Sigmas);

impl SigmaSchedule for CustomSigmas {
    /// # Errors
    /// [`ScheduleError::Setting`] unless the number of steps is that of the levels.
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError> {
        if num_steps == self.0.num_steps() {
            return Ok(self.0.clone());
        }
        let expected = "as many as the custom sigmas make";
        Err(ScheduleError::Setting { setting: "number of steps", expected, found: num_steps as f64 })
    }
}

impl FromStr for CustomSigmas {
    type Err = ScheduleError;

    fn from_str(list: &str) -> Result<Self, ScheduleError> {
        // A word that is no number becomes NaN, which `Sigmas` refuses.
        let levels = list.split(',').map(|level| level.trim().parse().unwrap_or(f64::NAN));
        Ok(Self(Sigmas::new(levels.collect())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_serve_their_number_of_steps() {
        let custom: CustomSigmas = "1, 0.8,0.4 , 0".parse().unwrap();
        assert_eq!(custom.0.as_slice(), [1.0, 0.8, 0.4, 0.0]);
        assert_eq!(custom.sigmas(3).unwrap(), custom.0);
        assert!(custom.sigmas(4).is_err());
        assert!(matches!("1, x, 0".parse::<CustomSigmas>(), Err(ScheduleError::OutOfRange { index: 1, .. })));
        assert!(matches!("".parse::<CustomSigmas>(), Err(ScheduleError::TooFew { .. })));
    }
}
