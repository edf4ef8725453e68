//! Which optimiser, and how it is set.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::Device;

use super::Optimizer;
use super::adafactor::{Adafactor, AdafactorSettings};
use super::adamw::{AdamW, AdamWSettings};
use super::lion::{Lion, LionSettings};
use super::prodigy::{Prodigy, ProdigySettings};
use crate::train::setting_error::SettingError;
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

    /// What is set, for people: `betas 0.9 and 0.999, weight decay 0.0001`.
    pub fn describe(&self) -> String {
        let betas = |[first, second]: [f64; 2]| format!("betas {first} and {second}");
        match self {
            Self::AdamW(AdamWSettings { betas: of, epsilon, weight_decay }) => {
                format!("{}, epsilon {epsilon:e}, weight decay {weight_decay}", betas(*of))
            }
            Self::Lion(LionSettings { betas: of, weight_decay }) => format!("{}, weight decay {weight_decay}", betas(*of)),
            Self::Prodigy(ProdigySettings { betas: of, weight_decay, d0, d_coef, .. }) => {
                format!("{}, weight decay {weight_decay}, first distance {d0:e}, factor {d_coef}", betas(*of))
            }
            Self::Adafactor(AdafactorSettings { decay_rate, clip_threshold, weight_decay, .. }) => {
                format!("decay rate {decay_rate}, steps clipped at {clip_threshold}, weight decay {weight_decay}")
            }
        }
    }

    /// One that has seen no gradient yet, for parameters of these shapes. Settings should have been [checked](Self::check).
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
    /// [`SettingError`] naming the first setting with which it cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let betas = |betas: &[f64]| betas.iter().try_for_each(|beta| SettingError::unless_part("beta", *beta));
        let decay =
            |found: f64| SettingError::unless(found >= 0.0 && found.is_finite(), "weight_decay", "a number from 0", found);
        match self {
            Self::AdamW(settings) => {
                betas(&settings.betas)?;
                SettingError::unless_positive("epsilon", settings.epsilon)?;
                decay(settings.weight_decay)
            }
            Self::Lion(settings) => {
                betas(&settings.betas)?;
                decay(settings.weight_decay)
            }
            Self::Adafactor(settings) => {
                betas(settings.beta1.as_slice())?;
                SettingError::unless_positive("epsilon", settings.epsilon)?;
                SettingError::unless_positive("smallest_scale", settings.smallest_scale)?;
                SettingError::unless_positive("clip_threshold", settings.clip_threshold)?;
                let rate = settings.decay_rate;
                SettingError::unless(rate < 0.0 && rate.is_finite(), "decay_rate", "a number below 0", rate)?;
                decay(settings.weight_decay)
            }
            Self::Prodigy(settings) => {
                betas(&settings.betas)?;
                betas(settings.beta3.as_slice())?;
                SettingError::unless_positive("epsilon", settings.epsilon)?;
                SettingError::unless_positive("d0", settings.d0)?;
                SettingError::unless_positive("d_coef", settings.d_coef)?;
                let growth = settings.growth_rate;
                SettingError::unless(growth >= 1.0, "growth_rate", "a number from 1, or infinity", growth)?;
                decay(settings.weight_decay)
            }
        }
    }
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
            (OptimizerSettings::default().with_weight_decay(-0.1), "weight_decay is -0.1"),
            (OptimizerSettings::default().with_weight_decay(f64::NAN), "weight_decay is NaN"),
            (prodigy(0.0, f64::INFINITY), "d0 is 0"),
            (prodigy(1e-6, 0.5), "growth_rate is 0.5"),
            (adafactor(0.8), "decay_rate is 0.8"),
            (
                OptimizerSettings::Lion(LionSettings { betas: [0.9, 1.0], ..Default::default() }),
                "beta is 1, expected a number from 0 to below 1",
            ),
        ] {
            let said = settings.check().unwrap_err().to_string();
            assert!(said.starts_with(words), "{said}");
        }
    }
}
