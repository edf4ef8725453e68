//! The noise schedule that a diffusers folder asks for.

use std::path::Path;

use diffusion_core::config::{ConfigError, read_json};
use serde::Deserialize;

/// The fields of `scheduler_config.json` that the supported models set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    #[serde(rename = "_class_name")]
    class_name: String,
    /// Factor of a constant shift.
    pub shift: f64,
    /// Whether the shift depends on the number of image tokens.
    pub use_dynamic_shifting: bool,
    /// Logarithm of the shift at `base_image_seq_len`.
    pub base_shift: f64,
    /// Logarithm of the shift at `max_image_seq_len`.
    pub max_shift: f64,
    /// Image tokens of a small image.
    pub base_image_seq_len: usize,
    /// Image tokens of a large image.
    pub max_image_seq_len: usize,
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
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, is something else, or asks for another schedule.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
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
