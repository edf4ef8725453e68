//! Noise levels of a run.

/// The noise levels that a sampler visits: finite, not negative, strictly falling, at least two.
///
/// With the feature `serde` it is a list of numbers, and [`Sigmas::new`] checks a list that is read.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Vec<f64>", into = "Vec<f64>"))]
pub struct Sigmas(Vec<f64>);

impl Sigmas {
    /// Check and wrap noise levels, the starting one first.
    ///
    /// # Errors
    /// [`ScheduleError`] when there are fewer than two, or one is negative, infinite, NaN or not below the one before.
    pub fn new(sigmas: Vec<f64>) -> Result<Self, ScheduleError> {
        if sigmas.len() < 2 {
            return Err(ScheduleError::TooFew { found: sigmas.len() });
        }
        for (index, &sigma) in sigmas.iter().enumerate() {
            if !sigma.is_finite() || sigma < 0.0 {
                return Err(ScheduleError::OutOfRange { index, sigma });
            }
            if index > 0 && sigma >= sigmas[index - 1] {
                return Err(ScheduleError::NotFalling { index, sigma, before: sigmas[index - 1] });
            }
        }
        Ok(Self(sigmas))
    }

    /// The levels, the starting one first.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// The level that a run starts from.
    pub fn first(&self) -> f64 {
        self.0[0]
    }

    /// Number of steps between the levels.
    pub fn num_steps(&self) -> usize {
        self.0.len() - 1
    }

    /// The levels without those of the first steps; `None` if no step is left.
    #[must_use]
    pub fn without_first(&self, num_steps: usize) -> Option<Self> {
        (num_steps < self.num_steps()).then(|| Self(self.0[num_steps..].to_vec()))
    }

    /// `(index, sigma, next sigma)` of every step.
    pub fn steps(&self) -> impl Iterator<Item = (usize, f64, f64)> + '_ {
        self.0.windows(2).enumerate().map(|(index, pair)| (index, pair[0], pair[1]))
    }
}

impl TryFrom<Vec<f64>> for Sigmas {
    type Error = ScheduleError;

    fn try_from(sigmas: Vec<f64>) -> Result<Self, ScheduleError> {
        Self::new(sigmas)
    }
}

impl From<Sigmas> for Vec<f64> {
    fn from(sigmas: Sigmas) -> Self {
        sigmas.0
    }
}

/// A rule that gives the noise levels for a number of steps.
pub trait SigmaSchedule {
    /// The levels of a run of `num_steps` steps.
    ///
    /// # Errors
    /// [`ScheduleError`] when there is no such run: zero steps, or settings that give no falling sequence.
    fn sigmas(&self, num_steps: usize) -> Result<Sigmas, ScheduleError>;
}

/// Why noise levels are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A run needs a step.
    #[error("a run needs at least two noise levels (one step), found {found}; ask for at least one step")]
    TooFew {
        /// Number of sigmas.
        found: usize,
    },
    /// A level is negative or not a number.
    #[error("the noise level in place {} is {sigma}; noise levels are numbers from 0 on", index + 1)]
    OutOfRange {
        /// Position in the list.
        index: usize,
        /// The level.
        sigma: f64,
    },
    /// A level is not below its predecessor.
    #[error(
        "the noise levels do not fall: {before} in place {index} is followed by {sigma}; every level must be lower than the one before, as in 1, 0.75, 0.5, 0"
    )]
    NotFalling {
        /// Position in the list.
        index: usize,
        /// The level.
        sigma: f64,
        /// Its predecessor.
        before: f64,
    },
    /// A setting of the schedule is outside its range.
    #[error("{setting} is {}, expected {expected}", plain(*found))]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
}

/// A number without hundreds of zeros.
fn plain(number: f64) -> String {
    let ordinary = number == 0.0 || (1e-6..1e12).contains(&number.abs());
    if ordinary { number.to_string() } else { format!("{number:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmas_must_fall_and_be_finite() {
        assert!(Sigmas::new(vec![1.0, 0.5, 0.0]).is_ok());
        assert_eq!(Sigmas::new(vec![1.0]), Err(ScheduleError::TooFew { found: 1 }));
        assert!(matches!(Sigmas::new(vec![1.0, 1.0]), Err(ScheduleError::NotFalling { index: 1, .. })));
        assert!(matches!(Sigmas::new(vec![f64::NAN, 0.0]), Err(ScheduleError::OutOfRange { index: 0, .. })));
        assert!(matches!(Sigmas::new(vec![1.0, -0.1]), Err(ScheduleError::OutOfRange { index: 1, .. })));
    }

    #[test]
    fn steps_are_pairs_of_neighbours() {
        let sigmas = Sigmas::new(vec![1.0, 0.5, 0.0]).unwrap();
        assert_eq!(sigmas.steps().collect::<Vec<_>>(), [(0, 1.0, 0.5), (1, 0.5, 0.0)]);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_list_of_numbers_is_checked_when_it_is_read() {
        let sigmas = Sigmas::new(vec![1.0, 0.5, 0.0]).unwrap();
        let json = serde_json::to_string(&sigmas).unwrap();
        assert_eq!(json, "[1.0,0.5,0.0]");
        assert_eq!(serde_json::from_str::<Sigmas>(&json).unwrap(), sigmas);
        let error = serde_json::from_str::<Sigmas>("[0.5, 1.0]").unwrap_err().to_string();
        assert!(error.contains("0.5 in place 1 is followed by 1; every level must be lower"), "{error}");
    }
}
