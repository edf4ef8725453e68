//! What diffusers wants to know of an adapter's settings: PEFT's configuration, in the header.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Key of the header under which diffusers looks for PEFT's configuration.
///
/// Reference: diffusers 0.42.1 `loaders/lora_base.py#L65`.
pub(super) const HEADER_KEY: &str = "lora_adapter_metadata";

/// Settings of a written module.
#[derive(Clone, Debug)]
pub(super) struct WrittenModule {
    /// What diffusers calls its network.
    pub(super) network: &'static str,
    /// Its name in the network, with dots.
    pub(super) module: String,
    pub(super) rank: usize,
    pub(super) alpha: f64,
    /// Whether it has magnitudes.
    pub(super) is_dora: bool,
}

/// PEFT's configuration of adapters, each setting after the name of its network. What modules have most often is told for all,
/// the others by pattern.
///
/// Reference: peft 0.21.2 `tuners/lora/config.py`.
pub(super) fn peft_entry(modules: &[WrittenModule]) -> String {
    let mut networks: BTreeMap<&str, Vec<&WrittenModule>> = BTreeMap::new();
    for module in modules {
        networks.entry(module.network).or_default().push(module);
    }
    let mut settings = BTreeMap::new();
    for (network, modules) in networks {
        let (rank, ranks) = most_frequent(&modules, |module| json!(module.rank));
        let (alpha, alphas) = most_frequent(&modules, |module| number(module.alpha));
        let mut names: Vec<&str> = modules.iter().map(|module| module.module.as_str()).collect();
        names.sort_unstable();
        let is_dora = modules.iter().any(|module| module.is_dora);
        for (name, value) in [
            ("r", rank),
            ("lora_alpha", alpha),
            ("rank_pattern", ranks),
            ("alpha_pattern", alphas),
            ("target_modules", json!(names)),
            ("use_dora", json!(is_dora)),
            ("use_rslora", json!(false)),
        ] {
            settings.insert(format!("{network}.{name}"), value);
        }
    }
    json!(settings).to_string()
}

/// A whole number as one: PEFT says that alpha is an integer.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// The value that most modules have, and those that others have, by module.
fn most_frequent(modules: &[&WrittenModule], value: impl Fn(&WrittenModule) -> Value) -> (Value, Value) {
    let mut counts: BTreeMap<String, (usize, Value)> = BTreeMap::new();
    for module in modules {
        let value = value(module);
        counts.entry(value.to_string()).or_insert((0, value)).0 += 1;
    }
    let most = counts.into_values().max_by_key(|(count, _)| *count).map_or(Value::Null, |(_, value)| value);
    // A pattern fits whatever ends in it, as the final `proj_out` ends the name of every single block's, unless it says where names
    // start. Reference: peft 0.21.2 `utils/other.py#L1524-L1532`.
    let others = modules.iter().map(|module| (format!("^{}", module.module), value(module)));
    let others = others.filter(|(_, value)| *value != most);
    let others: Map<String, Value> = others.collect();
    (most, others.into())
}

/// The rank and the alpha that most modules have, as text.
pub(super) fn usual_rank_and_alpha<'m>(modules: impl Iterator<Item = &'m WrittenModule>) -> [String; 2] {
    let modules: Vec<&WrittenModule> = modules.collect();
    let rank = most_frequent(&modules, |module| json!(module.rank)).0;
    let alpha = most_frequent(&modules, |module| number(module.alpha)).0;
    [rank, alpha].map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_modules_have_is_told_for_all() {
        let module = |module: &str, rank, alpha| {
            let network = if module.starts_with("layers") { "text_encoder" } else { "transformer" };
            WrittenModule { network, module: module.to_owned(), rank, alpha, is_dora: false }
        };
        let modules = [
            module("b.to_q", 4, 6.0),
            module("a.to_q", 4, 2.5),
            module("a.to_k", 8, 6.0),
            WrittenModule { is_dora: true, ..module("layers.0", 2, 2.0) },
        ];
        let found: Value = serde_json::from_str(&peft_entry(&modules)).unwrap();
        let expected = json!({
            "transformer.r": 4,
            "transformer.lora_alpha": 6,
            "transformer.rank_pattern": {"^a.to_k": 8},
            "transformer.alpha_pattern": {"^a.to_q": 2.5},
            "transformer.target_modules": ["a.to_k", "a.to_q", "b.to_q"],
            "transformer.use_dora": false,
            "transformer.use_rslora": false,
            "text_encoder.r": 2,
            "text_encoder.lora_alpha": 2,
            "text_encoder.rank_pattern": {},
            "text_encoder.alpha_pattern": {},
            "text_encoder.target_modules": ["layers.0"],
            "text_encoder.use_dora": true,
            "text_encoder.use_rslora": false,
        });
        assert_eq!(found, expected);
        assert_eq!(usual_rank_and_alpha(modules.iter()), ["4", "6"]);
    }
}
