//! The noise schedule that a diffusers folder asks for.

use std::path::Path;

use serde::Deserialize;

use crate::config::{ConfigError, read_json};

/// The fields of `scheduler_config.json` that the supported models set.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    class_name: String,
    #[serde(default = "unshifted")]
    pub(crate) shift: f64,
    #[serde(default)]
    pub(crate) use_dynamic_shifting: bool,
    #[serde(default = "default_base_shift")]
    pub(crate) base_shift: f64,
    #[serde(default = "default_max_shift")]
    pub(crate) max_shift: f64,
    #[serde(default = "default_base_len")]
    pub(crate) base_image_seq_len: usize,
    #[serde(default = "default_max_len")]
    pub(crate) max_image_seq_len: usize,
    #[serde(default)]
    use_karras_sigmas: Option<bool>,
    #[serde(default)]
    use_exponential_sigmas: Option<bool>,
    #[serde(default)]
    use_beta_sigmas: Option<bool>,
    #[serde(default)]
    shift_terminal: Option<f64>,
    #[serde(default)]
    time_shift_type: Option<String>,
}

/// What diffusers takes where a configuration says nothing.
fn unshifted() -> f64 {
    1.0
}
fn default_base_shift() -> f64 {
    0.5
}
fn default_max_shift() -> f64 {
    1.15
}
fn default_base_len() -> usize {
    256
}
fn default_max_len() -> usize {
    4096
}

impl SchedulerConfig {
    /// Read the file, refusing what no supported model sets.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        const CLASS: &str = "FlowMatchEulerDiscreteScheduler";
        let config: Self = read_json(path)?;
        if config.class_name != CLASS {
            return Err(ConfigError::unsupported(path, "_class_name", CLASS, config.class_name));
        }
        let flags = [
            ("use_karras_sigmas", config.use_karras_sigmas == Some(true)),
            ("use_exponential_sigmas", config.use_exponential_sigmas == Some(true)),
            ("use_beta_sigmas", config.use_beta_sigmas == Some(true)),
            ("shift_terminal", config.shift_terminal.is_some()),
            ("time_shift_type", config.time_shift_type.as_deref().is_some_and(|kind| kind != "exponential")),
        ];
        match flags.into_iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(ConfigError::unsupported(path, field, "the default of the released models", "set otherwise")),
            None => Ok(config),
        }
    }
}
