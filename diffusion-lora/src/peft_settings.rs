//! Rank and alpha of PEFT's adapters, which are not among the tensors: in the file's header, or in a JSON file beside it.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::LoraError;

/// Key of the header under which diffusers writes PEFT's configuration.
pub(crate) const HEADER_KEY: &str = "lora_adapter_metadata";
/// PEFT's own file beside the tensors.
const CONFIG_FILE: &str = "adapter_config.json";

/// PEFT's settings of an adapter.
///
/// Reference: peft `tuners/lora/layer.py#L278-L281` and `utils/other.py` (`get_pattern_key`) at 0.21.2.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeftSettings {
    values: Map<String, Value>,
}

impl PeftSettings {
    /// From the file's header, where names come after that of the network, or from PEFT's own JSON.
    pub(crate) fn find(path: &Path, header: Option<&str>) -> Result<Option<Self>, LoraError> {
        let failed = |reason: String| LoraError::Metadata { path: path.to_owned(), reason };
        let text = if let Some(text) = header {
            text.to_owned()
        } else {
            let config = path.with_file_name(CONFIG_FILE);
            let is_pefts = path.file_stem().is_some_and(|stem| stem == "adapter_model");
            if !is_pefts || !config.exists() {
                return Ok(None);
            }
            diffusion_core::files::read_text(&config).map_err(|error| failed(format!("{}: {error}", config.display())))?
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(values)) => Ok(Some(Self { values })),
            Ok(_) => Err(failed("expected a JSON object".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// A setting of the network with `prefix`.
    fn get(&self, prefix: &str, name: &str) -> Option<&Value> {
        self.values.get(&format!("{prefix}.{name}")).or_else(|| self.values.get(name))
    }

    /// What the product of a module's factors is multiplied with, if that is told: the module's alpha over its rank, or over
    /// the square root of its rank. arXiv 2312.03732.
    pub(crate) fn scale(&self, prefix: &str, module: &str, rank: usize) -> Option<f64> {
        let of_module = || {
            let patterns = self.get(prefix, "alpha_pattern")?.as_object()?;
            patterns.iter().find(|(pattern, _)| ends_with_segments(module, pattern)).and_then(|(_, alpha)| alpha.as_f64())
        };
        let alpha = of_module().or_else(|| self.get(prefix, "lora_alpha")?.as_f64())?;
        let stabilised = self.get(prefix, "use_rslora").and_then(Value::as_bool).unwrap_or(false);
        let rank = rank as f64;
        Some(if stabilised { alpha / rank.sqrt() } else { alpha / rank })
    }
}

/// Whether a name is a pattern, or ends with it after a dot. Patterns may start with `^` for the whole name.
fn ends_with_segments(module: &str, pattern: &str) -> bool {
    let pattern = pattern.replace("\\.", ".");
    match pattern.strip_prefix('^') {
        Some(whole) => module == whole.trim_end_matches('$'),
        None => module == pattern || module.ends_with(&format!(".{pattern}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_square_roots_are_honoured() {
        let text = r#"{"transformer.r": 4, "transformer.lora_alpha": 8.0, "transformer.use_rslora": true,
            "transformer.alpha_pattern": {"blocks.1.to_q": 2.0}}"#;
        let settings = PeftSettings::find("a.safetensors".as_ref(), Some(text)).unwrap().unwrap();
        assert_eq!(settings.scale("transformer", "blocks.0.to_q", 4), Some(4.0));
        assert_eq!(settings.scale("transformer", "transformer_blocks.1.to_q", 4), Some(4.0));
        assert_eq!(settings.scale("transformer", "x.blocks.1.to_q", 4), Some(1.0));
        assert_eq!(settings.scale("text_encoder", "blocks.1.to_q", 4), None);
    }
}
