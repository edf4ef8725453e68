//! How much an error counts at a noise level.

use std::f64::consts::PI;
use std::fmt::{self, Display};
use std::str::FromStr;

use super::unknown_name::{UnknownName, by_name};

/// How much an error counts at a noise level.
///
/// Reference: diffusers 0.42.1 `training_utils.py`, `compute_loss_weighting_for_sd3`, whose schemes `mode` and `logit_normal` are
/// [`None`](Self::None) here: they say how levels are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossWeighting {
    /// 1 everywhere.
    #[default]
    None,
    /// `σ⁻²`, in spite of its name.
    SigmaSqrt,
    /// `2 / (π (1 - 2σ + 2σ²))`: more in the middle.
    Cosmap,
}

const WEIGHTINGS: [(&str, LossWeighting); 3] =
    [("none", LossWeighting::None), ("sigma_sqrt", LossWeighting::SigmaSqrt), ("cosmap", LossWeighting::Cosmap)];

impl LossWeighting {
    /// The weight at `sigma`, in (0, 1].
    pub fn weight(self, sigma: f64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::SigmaSqrt => sigma.powi(-2),
            Self::Cosmap => 2.0 / (PI * (1.0 - 2.0 * sigma + 2.0 * sigma * sigma)),
        }
    }

    /// The name, which [`FromStr`] parses.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SigmaSqrt => "sigma_sqrt",
            Self::Cosmap => "cosmap",
        }
    }
}

impl Display for LossWeighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LossWeighting {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name("weighting", &WEIGHTINGS, name)
    }
}

/// What is compared with what it should be: an error of the velocity is one of the picture, divided by `σ`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossSpace {
    /// The velocity, `noise - latents`.
    #[default]
    Velocity,
    /// The picture that the velocity leads to, `x - σ velocity`: errors count by `σ²`.
    ///
    /// Reference: diffusers 0.42.1 `train_dreambooth_lora_sd3.py`, `precondition_outputs`, on unless it is turned off.
    Original,
}

const SPACES: [(&str, LossSpace); 2] = [("velocity", LossSpace::Velocity), ("original", LossSpace::Original)];

impl LossSpace {
    /// What the square of an error of the velocity at `sigma` is multiplied with.
    pub fn weight(self, sigma: f64) -> f64 {
        match self {
            Self::Velocity => 1.0,
            Self::Original => sigma * sigma,
        }
    }

    /// The name, which [`FromStr`] parses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Velocity => "velocity",
            Self::Original => "original",
        }
    }
}

impl Display for LossSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LossSpace {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name("space of the loss", &SPACES, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() {
        for (name, weighting) in WEIGHTINGS {
            assert_eq!(name.parse(), Ok(weighting));
            assert_eq!(weighting.to_string(), name);
        }
        for (name, space) in SPACES {
            assert_eq!(name.parse(), Ok(space));
            assert_eq!(space.to_string(), name);
        }
        let error = "mode".parse::<LossWeighting>().unwrap_err();
        assert_eq!(error.to_string(), "there is no weighting \"mode\"; there are none, sigma_sqrt, cosmap");
    }

    #[test]
    fn an_error_of_the_original_is_that_of_the_velocity_times_sigma() {
        let (latents, noise, predicted, sigma) = (0.7, -1.3, 0.4, 0.35);
        let x = (1.0 - sigma) * latents + sigma * noise;
        let of_original: f64 = x - sigma * predicted - latents;
        let of_velocity: f64 = predicted - (noise - latents);
        assert!((of_original.powi(2) - LossSpace::Original.weight(sigma) * of_velocity.powi(2)).abs() < 1e-15);
    }
}
