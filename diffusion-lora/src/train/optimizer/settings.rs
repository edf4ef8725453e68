//! Which optimiser, and how it is set.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::Device;

use super::Optimizer;
use super::adafactor::{Adafactor, AdafactorSettings};
use super::adamw::{AdamW, AdamWSettings};
use super::lion::{Lion, LionSettings};
use super::prodigy::{Prodigy, ProdigySettings};
use crate::train::unknown_name::{UnknownName, by_name};

/// Which optimiser, and how it is set. Its name is printed and parsed; what is parsed has the default settings.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptimizerSettings {
    /// [`AdamW`].
    AdamW(AdamWSettings),
    /// [`Adafactor`].
    Adafactor(AdafactorSettings),
    /// [`Prodigy`].
    Prodigy(ProdigySettings),
    /// [`Lion`].
    Lion(LionSettings),
}

/// A setting that an optimiser cannot work with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{setting} of the optimiser is {found}, expected {expected}")]
pub struct OptimizerSettingsError {
    /// The setting.
    pub setting: &'static str,
    /// What it may be.
    pub expected: &'static str,
    /// What it is.
    pub found: f64,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        Self::AdamW(AdamWSettings::default())
    }
}

impl OptimizerSettings {
    /// The name, which [`FromStr`] parses.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "adamw",
            Self::Adafactor(_) => "adafactor",
            Self::Prodigy(_) => "prodigy",
            Self::Lion(_) => "lion",
        }
    }

    /// One that has seen no gradient yet, for parameters of these shapes.
    pub fn build(&self, shapes: &[[usize; 2]], device: &Device) -> Box<dyn Optimizer> {
        match *self {
            Self::AdamW(settings) => Box::new(AdamW::new(settings, shapes, device)),
            Self::Adafactor(settings) => Box::new(Adafactor::new(settings, shapes, device)),
            Self::Prodigy(settings) => Box::new(Prodigy::new(settings, shapes, device)),
            Self::Lion(settings) => Box::new(Lion::new(settings, shapes, device)),
        }
    }

    /// The learning rate to begin with. That of Lion is three times smaller than `AdamW`'s, as its authors advise at least.
    pub fn usual_learning_rate(&self) -> f64 {
        match self {
            Self::AdamW(_) | Self::Adafactor(_) => 1e-4,
            Self::Prodigy(_) => 1.0,
            Self::Lion(_) => 3e-5,
        }
    }

    /// The same with another weight decay.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f64) -> Self {
        match self {
            Self::AdamW(settings) => Self::AdamW(AdamWSettings { weight_decay, ..settings }),
            Self::Adafactor(settings) => Self::Adafactor(AdafactorSettings { weight_decay, ..settings }),
            Self::Prodigy(settings) => Self::Prodigy(ProdigySettings { weight_decay, ..settings }),
            Self::Lion(settings) => Self::Lion(LionSettings { weight_decay, ..settings }),
        }
    }

    /// Whether an optimiser can work with these settings.
    ///
    /// # Errors
    /// [`OptimizerSettingsError`] naming the first setting with which it cannot.
    pub fn check(&self) -> Result<(), OptimizerSettingsError> {
        match self {
            Self::AdamW(AdamWSettings { betas, epsilon, weight_decay }) => {
                betas.iter().try_for_each(|beta| part("beta", *beta))?;
                positive("epsilon", *epsilon)?;
                decay(*weight_decay)
            }
            Self::Lion(LionSettings { betas, weight_decay }) => {
                betas.iter().try_for_each(|beta| part("beta", *beta))?;
                decay(*weight_decay)
            }
            Self::Adafactor(settings) => {
                settings.beta1.iter().try_for_each(|beta| part("beta1", *beta))?;
                positive("epsilon", settings.epsilon)?;
                positive("smallest_scale", settings.smallest_scale)?;
                positive("clip_threshold", settings.clip_threshold)?;
                within("decay_rate", "a number below 0", settings.decay_rate, settings.decay_rate < 0.0)?;
                decay(settings.weight_decay)
            }
            Self::Prodigy(settings) => {
                settings.betas.iter().try_for_each(|beta| part("beta", *beta))?;
                settings.beta3.iter().try_for_each(|beta| part("beta3", *beta))?;
                positive("epsilon", settings.epsilon)?;
                positive("d0", settings.d0)?;
                positive("d_coef", settings.d_coef)?;
                let growth = settings.growth_rate;
                if growth < 1.0 || growth.is_nan() {
                    let expected = "a number from 1, or infinity";
                    return Err(OptimizerSettingsError { setting: "growth_rate", expected, found: growth });
                }
                decay(settings.weight_decay)
            }
        }
    }
}

fn within(setting: &'static str, expected: &'static str, found: f64, holds: bool) -> Result<(), OptimizerSettingsError> {
    if holds && found.is_finite() { Ok(()) } else { Err(OptimizerSettingsError { setting, expected, found }) }
}

fn part(setting: &'static str, found: f64) -> Result<(), OptimizerSettingsError> {
    within(setting, "a number from 0 to below 1", found, (0.0..1.0).contains(&found))
}

fn positive(setting: &'static str, found: f64) -> Result<(), OptimizerSettingsError> {
    within(setting, "a number above 0", found, found > 0.0)
}

fn decay(found: f64) -> Result<(), OptimizerSettingsError> {
    within("weight_decay", "a number from 0", found, found >= 0.0)
}

impl Display for OptimizerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for OptimizerSettings {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [
            Self::default(),
            Self::Adafactor(AdafactorSettings::default()),
            Self::Prodigy(ProdigySettings::default()),
            Self::Lion(LionSettings::default()),
        ];
        by_name("optimizer", &all.map(|settings| (settings.name(), settings)), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() {
        for name in ["adamw", "adafactor", "prodigy", "lion"] {
            let settings: OptimizerSettings = name.parse().unwrap();
            assert_eq!(settings.to_string(), name);
            assert_eq!(settings.check(), Ok(()));
        }
        let error = "sgd".parse::<OptimizerSettings>().unwrap_err();
        assert_eq!(error.to_string(), "there is no optimizer \"sgd\"; there are adamw, adafactor, prodigy, lion");
    }

    #[test]
    fn impossible_settings_are_refused() {
        let prodigy = |d0, growth_rate| OptimizerSettings::Prodigy(ProdigySettings { d0, growth_rate, ..Default::default() });
        let adafactor = |decay_rate| OptimizerSettings::Adafactor(AdafactorSettings { decay_rate, ..Default::default() });
        for (settings, words) in [
            (OptimizerSettings::default().with_weight_decay(-0.1), "weight_decay of the optimiser is -0.1"),
            (OptimizerSettings::default().with_weight_decay(f64::NAN), "weight_decay of the optimiser is NaN"),
            (prodigy(0.0, f64::INFINITY), "d0 of the optimiser is 0"),
            (prodigy(1e-6, 0.5), "growth_rate of the optimiser is 0.5"),
            (adafactor(0.8), "decay_rate of the optimiser is 0.8"),
            (
                OptimizerSettings::Lion(LionSettings { betas: [0.9, 1.0], ..Default::default() }),
                "beta of the optimiser is 1, expected a number from 0 to below 1",
            ),
        ] {
            let said = settings.check().unwrap_err().to_string();
            assert!(said.starts_with(words), "{said}");
        }
    }
}
