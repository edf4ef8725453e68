//! The noise schedule that a diffusers folder asks for.

use std::path::Path;

use serde::Deserialize;

use diffusion_core::config::{ConfigError, read_json};

/// The fields of `scheduler_config.json` that the supported models set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    class_name: String,
    pub(crate) shift: f64,
    pub(crate) use_dynamic_shifting: bool,
    pub(crate) base_shift: f64,
    pub(crate) max_shift: f64,
    pub(crate) base_image_seq_len: usize,
    pub(crate) max_image_seq_len: usize,
    use_karras_sigmas: Option<bool>,
    use_exponential_sigmas: Option<bool>,
    use_beta_sigmas: Option<bool>,
    shift_terminal: Option<f64>,
    time_shift_type: Option<String>,
}

impl Default for SchedulerConfig {
    /// What diffusers takes where a configuration says nothing.
    fn default() -> Self {
        Self {
            class_name: String::new(),
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256,
            max_image_seq_len: 4096,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
            shift_terminal: None,
            time_shift_type: None,
        }
    }
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
