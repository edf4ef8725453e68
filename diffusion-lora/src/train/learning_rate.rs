//! How the learning rate changes over a run.

use std::f64::consts::PI;
use std::fmt::{self, Display};
use std::str::FromStr;

use super::unknown_name::{UnknownName, by_name};

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LearningRateCourse {
    /// It stays.
    #[default]
    Constant,
    /// It falls to zero along half a cosine.
    Cosine,
    /// It falls to zero along a line.
    Linear,
}

const COURSES: [(&str, LearningRateCourse); 3] =
    [("constant", LearningRateCourse::Constant), ("cosine", LearningRateCourse::Cosine), ("linear", LearningRateCourse::Linear)];

impl LearningRateCourse {
    /// The name, which [`FromStr`] parses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Cosine => "cosine",
            Self::Linear => "linear",
        }
    }
}

impl Display for LearningRateCourse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LearningRateCourse {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name("course of the learning rate", &COURSES, name)
    }
}

/// What a learning rate is multiplied with at each step.
///
/// Reference: diffusers 0.42.1 `optimization.py`; `constant` here is its `constant_with_warmup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearningRateSchedule {
    /// How it goes on after the warm-up.
    pub course: LearningRateCourse,
    /// Steps in which it rises from zero, which is its value at the first of them.
    pub warm_up_steps: usize,
    /// Steps of the run, those of the warm-up among them.
    pub total_steps: usize,
}

impl LearningRateSchedule {
    /// The factor of a step, counted from 0.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warm_up_steps {
            return step as f64 / self.warm_up_steps as f64;
        }
        let falling = self.total_steps.saturating_sub(self.warm_up_steps).max(1) as f64;
        let part = (step - self.warm_up_steps) as f64 / falling;
        match self.course {
            LearningRateCourse::Constant => 1.0,
            LearningRateCourse::Cosine => 0.5 * (1.0 + (PI * part.min(1.0)).cos()),
            LearningRateCourse::Linear => (1.0 - part).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() {
        for (name, course) in COURSES {
            assert_eq!(name.parse(), Ok(course));
            assert_eq!(course.to_string(), name);
        }
        let error = "step".parse::<LearningRateCourse>().unwrap_err();
        assert_eq!(error.to_string(), "there is no course of the learning rate \"step\"; there are constant, cosine, linear");
    }

    #[test]
    fn a_warm_up_of_any_length_has_factors() {
        for course in COURSES.map(|(_, course)| course) {
            for (warm_up_steps, total_steps) in [(0, 0), (5, 5), (10, 3), (0, 1)] {
                let schedule = LearningRateSchedule { course, warm_up_steps, total_steps };
                let factors: Vec<f64> = (0..20).map(|step| schedule.factor(step)).collect();
                assert!(factors.iter().all(|factor| (0.0..=1.0).contains(factor)), "{schedule:?}: {factors:?}");
                assert_eq!(factors[warm_up_steps], 1.0, "{schedule:?}");
            }
        }
    }
}
