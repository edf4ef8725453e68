//! Rank and alpha of PEFT's adapters, which are not among the tensors: in the file's header, or in a JSON file beside it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ordered_map::OrderedMap;
use crate::peft_patterns;

/// PEFT's settings of the adapters of a file.
///
/// Reference: peft `tuners/lora/layer.py#L278-L281`, `tuners/lora/model.py#L309-L312`, `tuners/lokr/layer.py#L189` at 0.21.2.
#[derive(Clone, Debug)]
pub(crate) struct PeftSettings {
    values: OrderedMap<Setting>,
}

/// A value, of the kinds that matter here.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Setting {
    Missing(()),
    Flag(bool),
    Number(f64),
    Text(String),
    Patterns(OrderedMap<f64>),
    Other(IgnoredAny),
}

/// What the settings say about one module.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ModuleSettings {
    /// Its alpha, unless the settings are of other networks.
    pub(crate) alpha: Option<f64>,
    /// Its rank, if they tell.
    pub(crate) rank: Option<f64>,
    /// Whether alpha is divided by the square root of the rank. arXiv 2312.03732.
    is_stabilised: bool,
    /// Whether it is of PEFT's own LoHa or LoKr, which scale whole factors too.
    is_lycoris: bool,
}

impl ModuleSettings {
    /// What the product of the module's factors is multiplied with, if that is told. `rank` is that of the factors, if they have
    /// one.
    pub(crate) fn scale(&self, rank: Option<usize>) -> Option<f64> {
        let rank = match rank {
            Some(rank) => rank as f64,
            None => self.rank.filter(|_| self.is_lycoris)?,
        };
        Some(self.alpha? / if self.is_stabilised { rank.sqrt() } else { rank })
    }
}

impl PeftSettings {
    /// Read the settings of a header, where names come after that of the network, or PEFT's own JSON.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(|values| Self { values }).map_err(|error| error.to_string())
    }

    /// A setting of the network of this name, or of all networks.
    fn get(&self, network: &str, name: &str) -> Option<&Setting> {
        let value = self.values.get(&format!("{network}.{name}")).or_else(|| self.values.get(name));
        value.filter(|value| !matches!(value, Setting::Missing(())))
    }

    fn number(&self, network: &str, name: &str) -> Result<Option<f64>, String> {
        match self.get(network, name) {
            None => Ok(None),
            Some(Setting::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(format!("{name} is no number")),
        }
    }

    /// The values of the patterns of this name that fit modules.
    fn patterns(&self, network: &str, name: &str, modules: &[&str]) -> Result<Vec<Option<f64>>, String> {
        match self.get(network, name) {
            None => Ok(vec![None; modules.len()]),
            Some(Setting::Patterns(patterns)) => {
                peft_patterns::values_of(&patterns.0, modules).map_err(|reason| format!("{name}: {reason}"))
            }
            Some(_) => Err(format!("{name} is no list of patterns with numbers")),
        }
    }

    /// What the settings say about modules of the network of this name.
    ///
    /// # Errors
    /// Which setting has another form, or a pattern that cannot be used.
    pub(crate) fn of(&self, network: &str, modules: &[&str]) -> Result<Vec<ModuleSettings>, String> {
        /// What PEFT takes where a file does not tell, `LoraConfig.r` and `.lora_alpha`, `LoHaConfig.r` and `.alpha`.
        const DEFAULT: f64 = 8.0;
        let is_flag = |name: &str| matches!(self.get(network, name), Some(Setting::Flag(true)));
        let kind = self.get(network, "peft_type");
        let is_lycoris = matches!(kind, Some(Setting::Text(kind)) if ["LOHA", "LOKR"].contains(&kind.as_str()));
        let alpha = self.number(network, if is_lycoris { "alpha" } else { "lora_alpha" })?;
        let rank = self.number(network, "r")?;
        let is_told = kind.is_some() || rank.is_some();
        let alphas = self.patterns(network, "alpha_pattern", modules)?;
        let ranks = self.patterns(network, "rank_pattern", modules)?;
        let of_module = |(own_alpha, own_rank): (Option<f64>, Option<f64>)| ModuleSettings {
            alpha: own_alpha.or(alpha).or(is_told.then_some(DEFAULT)),
            rank: own_rank.or(rank).or(is_lycoris.then_some(DEFAULT)),
            is_stabilised: is_flag("use_rslora"),
            is_lycoris,
        };
        Ok(alphas.into_iter().zip(ranks).map(of_module).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scales(text: &str, network: &str, modules: &[&str], rank: Option<usize>) -> Vec<Option<f64>> {
        let settings = PeftSettings::parse(text).unwrap().of(network, modules).unwrap();
        settings.iter().map(|settings| settings.scale(rank)).collect()
    }

    #[test]
    fn patterns_and_square_roots_are_honoured() {
        let text = r#"{"transformer.r": 4, "transformer.lora_alpha": 8.0, "transformer.use_rslora": true,
            "transformer.alpha_pattern": {"blocks.1.to_q": 2.0}}"#;
        let modules = ["blocks.0.to_q", "transformer_blocks.1.to_q", "x.blocks.1.to_q"];
        assert_eq!(scales(text, "transformer", &modules, Some(4)), [Some(4.0), Some(4.0), Some(1.0)]);
        assert_eq!(scales(text, "text_encoder", &modules[..1], Some(4)), [None]);
    }

    #[test]
    fn the_first_pattern_in_the_files_order_counts() {
        let text = r#"{"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_q": 1, "attn.to_q": 16, "a.*": 2}}"#;
        let expected = [Some(0.25), Some(0.5), Some(2.0)];
        assert_eq!(scales(text, "transformer", &["x.attn.to_q", "x.attn.to_k", "x.b"], Some(4)), expected);
    }

    #[test]
    fn what_a_file_does_not_tell_is_as_in_peft() {
        assert_eq!(scales(r#"{"r": 4}"#, "transformer", &["a"], Some(4)), [Some(2.0)]);
        assert_eq!(scales(r#"{"r": 4, "lora_alpha": null, "alpha_pattern": null}"#, "transformer", &["a"], Some(4)), [Some(2.0)]);
        assert_eq!(scales("{}", "transformer", &["a"], Some(4)), [None]);
        // PEFT's LoHa and LoKr call alpha otherwise, and scale whole factors too.
        let lokr = r#"{"peft_type": "LOKR", "r": 4, "alpha": 2, "rank_pattern": {"b": 1}}"#;
        assert_eq!(scales(lokr, "transformer", &["a", "b"], None), [Some(0.5), Some(2.0)]);
        assert_eq!(scales(r#"{"r": 4, "lora_alpha": 2}"#, "transformer", &["a"], None), [None]);
    }

    #[test]
    fn settings_of_another_form_are_refused_by_name() {
        for (text, word) in [
            (r#"{"lora_alpha": "8"}"#, "lora_alpha"),
            (r#"{"alpha_pattern": ["a"]}"#, "alpha_pattern"),
            (r#"{"alpha_pattern": {"a": "b"}}"#, "alpha_pattern"),
            (r#"{"rank_pattern": {"(": 1}}"#, "rank_pattern"),
        ] {
            let error = PeftSettings::parse(text).unwrap().of("transformer", &["a"]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        for text in ["", "[]", "8", "{", r#"{"a": 1e999}"#] {
            assert!(PeftSettings::parse(text).is_err(), "{text}");
        }
        assert!(PeftSettings::parse(&"[".repeat(100_000)).is_err());
        assert!(PeftSettings::parse(&format!(r#"{{"a": {}}}"#, "[".repeat(100_000))).is_err());
    }
}
