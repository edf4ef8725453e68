//! The noise schedule that a diffusers folder asks for.

use std::path::Path;

use diffusion_core::config::{ConfigError, read_json, require_number, require_sizes};
use serde::Deserialize;
use serde_json::Value;

use super::flow_shift::FlowShift;
use super::resolution_shift::ResolutionShift;

/// What a `scheduler_config.json` asks for: levels evenly spaced, then shifted. It has every entry of diffusers'
/// `FlowMatchEulerDiscreteScheduler`; what this crate does not do is refused by its name, and entries that diffusers does not
/// have are without effect, as there.
///
/// Reference: diffusers `scheduling_flow_match_euler_discrete.py#L92-L144` at 58eb52c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SchedulerConfig {
    /// A constant shift.
    Constant(FlowShift),
    /// A shift that depends on the number of image tokens (`use_dynamic_shifting`).
    ByResolution(ResolutionShift),
}

/// The entries that have an effect, with diffusers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Json {
    #[serde(rename = "_class_name")]
    class_name: String,
    shift: Option<f64>,
    use_dynamic_shifting: Option<bool>,
    base_shift: Option<f64>,
    max_shift: Option<f64>,
    base_image_seq_len: Option<usize>,
    max_image_seq_len: Option<usize>,
    num_train_timesteps: Value,
    stochastic_sampling: Value,
    invert_sigmas: Value,
    use_karras_sigmas: Value,
    use_exponential_sigmas: Value,
    use_beta_sigmas: Value,
    shift_terminal: Value,
    time_shift_type: Value,
}

/// Noise levels of the training of all supported models.
const TRAINING_STEPS: u64 = 1000;

impl Default for Json {
    fn default() -> Self {
        Self {
            class_name: String::new(),
            shift: Some(1.0),
            use_dynamic_shifting: Some(false),
            base_shift: Some(0.5),
            max_shift: Some(1.15),
            base_image_seq_len: Some(256),
            max_image_seq_len: Some(4096),
            num_train_timesteps: TRAINING_STEPS.into(),
            stochastic_sampling: Value::Null,
            invert_sigmas: Value::Null,
            use_karras_sigmas: Value::Null,
            use_exponential_sigmas: Value::Null,
            use_beta_sigmas: Value::Null,
            shift_terminal: Value::Null,
            time_shift_type: Value::Null,
        }
    }
}

/// What Python takes for false.
fn is_off(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_f64() == Some(0.0)
}

impl SchedulerConfig {
    /// Read the file, refusing what no supported model sets.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, is something else, asks for another schedule, or has a number out of range.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        const CLASS: &str = "FlowMatchEulerDiscreteScheduler";
        let json: Json = read_json(path)?;
        if json.class_name != CLASS {
            let expected = format!("{CLASS}; other samplers and schedules are settings of a run");
            return Err(ConfigError::unsupported(path, "_class_name", expected, json.class_name));
        }
        json.refuse_unsupported(path)?;
        if json.use_dynamic_shifting == Some(true) { json.by_resolution(path) } else { json.constant(path) }
    }
}

impl Json {
    fn refuse_unsupported(&self, path: &Path) -> Result<(), ConfigError> {
        /// In its place there is a setting of a run.
        const SETTING: &str = "false or absent; it is a setting of a run";
        const OFF: &str = "false or absent";
        let entries = [
            ("use_karras_sigmas", &self.use_karras_sigmas, is_off as fn(&Value) -> bool, SETTING),
            ("use_exponential_sigmas", &self.use_exponential_sigmas, is_off, SETTING),
            ("use_beta_sigmas", &self.use_beta_sigmas, is_off, SETTING),
            ("stochastic_sampling", &self.stochastic_sampling, is_off, "false or absent; the sampler \"lcm\" does the same"),
            ("invert_sigmas", &self.invert_sigmas, is_off, OFF),
            ("shift_terminal", &self.shift_terminal, is_off, "null or absent; it is a setting of a run"),
            ("num_train_timesteps", &self.num_train_timesteps, |value| value.as_f64() == Some(TRAINING_STEPS as f64), "1000"),
            ("time_shift_type", &self.time_shift_type, |value| is_off(value) || value == "exponential", "\"exponential\""),
        ];
        match entries.into_iter().find(|(_, found, is_supported, _)| !is_supported(found)) {
            Some((field, found, _, expected)) => Err(ConfigError::unsupported(path, field, expected, found)),
            None => Ok(()),
        }
    }

    fn constant(&self, path: &Path) -> Result<SchedulerConfig, ConfigError> {
        let shift = present(path, "shift", self.shift)?;
        let constant = FlowShift::new(shift);
        let refused = |_| ConfigError::unsupported(path, "shift", "a number from 1e-9 to 1e9", shift);
        constant.map(SchedulerConfig::Constant).map_err(refused)
    }

    fn by_resolution(&self, path: &Path) -> Result<SchedulerConfig, ConfigError> {
        let shifts = [("base_shift", self.base_shift), ("max_shift", self.max_shift)];
        let [base_shift, max_shift] = shifts.map(|(field, found)| {
            let found = present(path, field, found)?;
            // Logarithms of shifts.
            let range = FlowShift::LARGEST.ln().floor();
            require_number(path, field, found, -range..=range).map(|()| found)
        });
        let counts = [("base_image_seq_len", self.base_image_seq_len), ("max_image_seq_len", self.max_image_seq_len)];
        let [base_count, max_count] = counts.map(|(field, found)| {
            let found = present(path, field, found)?;
            require_sizes(path, [(field, found)]).map(|()| found)
        });
        let (shifts, token_counts) = ([base_shift?, max_shift?], [base_count?, max_count?]);
        if token_counts[0] >= token_counts[1] {
            let expected = format!("above base_image_seq_len, {}", token_counts[0]);
            return Err(ConfigError::unsupported(path, "max_image_seq_len", expected, token_counts[1]));
        }
        Ok(SchedulerConfig::ByResolution(ResolutionShift { shifts, token_counts }))
    }
}

fn present<T>(path: &Path, field: &'static str, found: Option<T>) -> Result<T, ConfigError> {
    found.ok_or_else(|| ConfigError::unsupported(path, field, "a number", "null"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const EULER: &str = r#""_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.42.1""#;

    /// What is read of a configuration with these entries.
    fn read(entries: &str) -> Result<SchedulerConfig, ConfigError> {
        let comma = if entries.is_empty() { "" } else { "," };
        read_whole(&format!("{{{EULER}{comma} {entries}}}"))
    }

    fn read_whole(text: &str) -> Result<SchedulerConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scheduler_config.json");
        fs::write(&path, text).unwrap();
        SchedulerConfig::read(&path)
    }

    fn constant(shift: f64) -> SchedulerConfig {
        SchedulerConfig::Constant(FlowShift::new(shift).unwrap())
    }

    #[test]
    fn entries_that_are_written_out_with_their_defaults_change_nothing() {
        assert_eq!(read("").unwrap(), constant(1.0));
        let written = r#""shift": 3, "num_train_timesteps": 1000, "stochastic_sampling": false, "invert_sigmas": false,
            "use_karras_sigmas": false, "use_beta_sigmas": null, "shift_terminal": null, "time_shift_type": "exponential",
            "base_shift": null, "max_image_seq_len": null, "unknown_to_diffusers": [1]"#;
        assert_eq!(read(written).unwrap(), constant(3.0));
        // Python takes zero for false.
        assert_eq!(read(r#""shift_terminal": 0.0, "shift": 3"#).unwrap(), constant(3.0));
        let dynamic = read(r#""use_dynamic_shifting": true, "max_shift": 1.16"#).unwrap();
        assert_eq!(dynamic, SchedulerConfig::ByResolution(ResolutionShift::sd3()));
    }

    #[test]
    fn entries_that_change_the_schedule_are_refused_by_name() {
        for (entry, words) in [
            (r#""stochastic_sampling": true"#, "stochastic_sampling is true, expected false or absent"),
            (r#""invert_sigmas": true"#, "invert_sigmas is true"),
            (r#""num_train_timesteps": 500"#, "num_train_timesteps is 500, expected 1000"),
            (r#""num_train_timesteps": "many""#, "num_train_timesteps is \"many\""),
            (r#""use_karras_sigmas": true"#, "use_karras_sigmas is true"),
            (r#""use_exponential_sigmas": true"#, "use_exponential_sigmas is true"),
            (r#""use_beta_sigmas": 1"#, "use_beta_sigmas is 1"),
            (r#""shift_terminal": 0.02"#, "shift_terminal is 0.02"),
            (r#""time_shift_type": "linear""#, "time_shift_type is \"linear\""),
        ] {
            let said = read(entry).unwrap_err().to_string();
            assert!(said.contains("scheduler_config.json") && said.contains(words), "{entry}: {said}");
        }
        let said = read_whole(r#"{"_class_name": "FlowMatchHeunDiscreteScheduler"}"#).unwrap_err().to_string();
        assert!(said.contains("_class_name is FlowMatchHeunDiscreteScheduler, expected FlowMatchEuler"), "{said}");
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        for (entry, words) in [
            (r#""shift": 0"#, "shift is 0, expected a number from"),
            (r#""shift": -3"#, "shift is -3"),
            (r#""shift": null"#, "shift is null"),
            (r#""use_dynamic_shifting": true, "max_shift": 800"#, "max_shift is 800, expected a number from -20 to 20"),
            (r#""use_dynamic_shifting": true, "base_shift": null"#, "base_shift is null"),
            (r#""use_dynamic_shifting": true, "base_image_seq_len": 0"#, "base_image_seq_len is 0"),
            (r#""use_dynamic_shifting": true, "base_image_seq_len": 4096"#, "max_image_seq_len is 4096, expected above"),
        ] {
            let said = read(entry).unwrap_err().to_string();
            assert!(said.contains("scheduler_config.json") && said.contains(words), "{entry}: {said}");
        }
    }
}
