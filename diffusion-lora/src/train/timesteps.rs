//! Which noise levels a network learns at.

use std::f64::consts::PI;
use std::fmt::{self, Display};
use std::str::FromStr;

use super::random::TrainingRandom;
use super::setting_error::SettingError;
use super::unknown_name::{UnknownName, by_name};

/// How densely noise levels are drawn, before they are shifted.
///
/// Reference: diffusers 0.42.1 `training_utils.py`, `compute_density_for_timestep_sampling`; SD3 paper, arXiv 2403.03206, section
/// 3.1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TimestepDensity {
    /// The sigmoid of a normal number: most in the middle.
    LogitNormal {
        /// Its mean; larger for more noise.
        mean: f64,
        /// Its standard deviation.
        deviation: f64,
    },
    /// Everywhere alike.
    Uniform,
    /// More in the middle for a positive scale, but the ends as well.
    Mode {
        /// How much more.
        scale: f64,
    },
    /// The sigmoid of a multiple of a normal number, as kohya and ai-toolkit have it.
    Sigmoid {
        /// The multiple.
        scale: f64,
    },
}

impl Default for TimestepDensity {
    fn default() -> Self {
        Self::LogitNormal { mean: 0.0, deviation: 1.0 }
    }
}

impl TimestepDensity {
    /// The name, which [`FromStr`] parses.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogitNormal { .. } => "logit_normal",
            Self::Uniform => "uniform",
            Self::Mode { .. } => "mode",
            Self::Sigmoid { .. } => "sigmoid",
        }
    }

    /// What becomes of a draw: of a standard normal one for [`LogitNormal`](Self::LogitNormal) and [`Sigmoid`](Self::Sigmoid), of
    /// a uniform one from [0, 1) for the others.
    pub fn of_draw(self, draw: f64) -> f64 {
        match self {
            Self::LogitNormal { mean, deviation } => sigmoid(mean + deviation * draw),
            Self::Uniform => draw,
            Self::Mode { scale } => 1.0 - draw - scale * ((PI * draw / 2.0).cos().powi(2) - 1.0 + draw),
            Self::Sigmoid { scale } => sigmoid(scale * draw),
        }
    }

    fn check(self) -> Result<(), SettingError> {
        match self {
            Self::LogitNormal { mean, deviation } => {
                SettingError::unless_finite("mean of noise levels", mean)?;
                SettingError::unless_positive("standard deviation of noise levels", deviation)
            }
            Self::Uniform => Ok(()),
            Self::Mode { scale } => SettingError::unless_finite("scale of the mode", scale),
            Self::Sigmoid { scale } => SettingError::unless_positive("scale of the sigmoid", scale),
        }
    }

    /// A draw.
    pub fn draw(self, random: &mut TrainingRandom) -> f64 {
        self.of_draw(match self {
            Self::LogitNormal { .. } | Self::Sigmoid { .. } => random.normal(),
            Self::Uniform | Self::Mode { .. } => random.uniform(),
        })
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Display for TimestepDensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TimestepDensity {
    type Err = UnknownName;

    /// With the settings of the references: mean 0, deviation 1, mode scale 1.29, sigmoid scale 1.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [Self::default(), Self::Uniform, Self::Mode { scale: 1.29 }, Self::Sigmoid { scale: 1.0 }];
        by_name("density of noise levels", &all.map(|density| (density.name(), density)), name)
    }
}

/// How drawn levels are moved towards noise.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TimestepShift {
    /// They stay.
    None,
    /// `s u / (1 + (s - 1) u)`.
    Constant(f64),
    /// By `s = e^mu`, `mu` linear in the number of image tokens (16 x 16 pixels each).
    ByResolution {
        /// `mu` at either of the numbers of tokens.
        shifts: [f64; 2],
        /// Two numbers of tokens.
        image_tokens: [usize; 2],
    },
}

impl TimestepShift {
    /// By resolution, as FLUX.1-dev draws: 0.5 at 256 tokens, 1.15 at 4096.
    ///
    /// Reference: black-forest-labs/flux `sampling.py#L277-L302` at 802fb47.
    pub const BY_RESOLUTION: Self = Self::ByResolution { shifts: [0.5, 1.15], image_tokens: [256, 4096] };

    fn check(self) -> Result<(), SettingError> {
        match self {
            Self::None => Ok(()),
            Self::Constant(shift) => SettingError::unless_positive("shift", shift),
            Self::ByResolution { shifts, image_tokens: [low, high] } => {
                shifts.into_iter().try_for_each(|shift| SettingError::unless_finite("shift by resolution", shift))?;
                SettingError::unless(low != high, "number of tokens", "another one than the other", high as f64)
            }
        }
    }

    /// The shifted level.
    pub fn apply(self, sigma: f64, image_tokens: usize) -> f64 {
        let shift = match self {
            Self::None => return sigma,
            Self::Constant(shift) => shift,
            Self::ByResolution { shifts: [at_low, at_high], image_tokens: counts } => {
                let [low, high] = counts.map(|count| count as f64);
                let slope = (at_high - at_low) / (high - low);
                (at_low + slope * (image_tokens as f64 - low)).exp()
            }
        };
        shift * sigma / (1.0 + (shift - 1.0) * sigma)
    }
}

/// Which levels there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimestepGrid {
    /// All from 1/1000 to 1, before the shift; a draw is a level.
    #[default]
    Continuous,
    /// A thousand, 1/1000 to 1 before the shift; a draw is a place in their list, which starts at pure noise. So a draw of 0.2 is
    /// the level 0.8, as in diffusers' training scripts.
    ///
    /// Reference: diffusers 0.42.1 `train_dreambooth_lora_sd3.py`: `indices = (u * 1000).long()`.
    Table,
}

/// How noise levels are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimestepSampling {
    /// How densely.
    pub density: TimestepDensity,
    /// How they are moved.
    pub shift: TimestepShift,
    /// Which there are.
    pub grid: TimestepGrid,
}

/// Noise levels of the networks' own training: 1/1000, 2/1000 .. 1.
const TRAINING_LEVELS: f64 = 1000.0;

impl TimestepSampling {
    /// Whether levels can be drawn with these settings.
    ///
    /// # Errors
    /// [`SettingError`] naming the first setting with which they cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        self.density.check()?;
        self.shift.check()
    }

    /// The noise level of a draw `u` of the density, for a picture of so many tokens (16 x 16 pixels each).
    pub fn sigma_of(&self, u: f64, image_tokens: usize) -> f64 {
        let level = match self.grid {
            TimestepGrid::Continuous => u.clamp(1.0 / TRAINING_LEVELS, 1.0),
            TimestepGrid::Table => (TRAINING_LEVELS - (u * TRAINING_LEVELS).floor().clamp(0.0, 999.0)) / TRAINING_LEVELS,
        };
        self.shift.apply(level, image_tokens)
    }

    /// Draw a noise level for a picture of so many tokens.
    pub fn sigma(&self, random: &mut TrainingRandom, image_tokens: usize) -> f64 {
        self.sigma_of(self.density.draw(random), image_tokens)
    }
}
