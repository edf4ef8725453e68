//! What the files beside a vocabulary say about special tokens and length.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokenizers::AddedToken;

use super::error::TokenizerError;
use super::files::read_json_if_present;

/// What the configuration files beside a vocabulary say.
#[derive(Debug, Clone)]
pub(crate) struct TokenizerConfig {
    pub(crate) bos: Option<AddedToken>,
    pub(crate) eos: AddedToken,
    pub(crate) unk: AddedToken,
    pub(crate) pad: AddedToken,
    /// Tokens found in the text before the vocabulary is asked, by id.
    pub(crate) added: BTreeMap<u32, AddedToken>,
    pub(crate) max_length: usize,
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json` and `special_tokens_map.json`, keeping `defaults` where they are silent; `None` where
    /// neither file exists.
    pub(crate) fn read(dir: &Path, defaults: Self) -> Result<Option<Self>, TokenizerError> {
        let config_path = dir.join("tokenizer_config.json");
        let config: Option<ConfigJson> = read_json_if_present(&config_path, "a JSON object")?;
        let map: Option<ConfigJson> = read_json_if_present(&dir.join("special_tokens_map.json"), "a JSON object")?;
        if config.is_none() && map.is_none() {
            return Ok(None);
        }
        let (config, map) = (config.unwrap_or_default(), map.unwrap_or_default());
        let max_length = config.model_max_length;
        let added = config.added_tokens_decoder.clone();
        // The older of the two files has the last word until the newer one lists the added tokens itself.
        let (first, second) = if added.is_some() { (config, map) } else { (map, config) };
        let token = |first: Option<TokenJson>, second: Option<TokenJson>| first.or(second).map(TokenJson::into_added_token);
        Ok(Some(Self {
            bos: token(first.bos_token, second.bos_token).or(defaults.bos),
            eos: token(first.eos_token, second.eos_token).unwrap_or(defaults.eos),
            unk: token(first.unk_token, second.unk_token).unwrap_or(defaults.unk),
            pad: token(first.pad_token, second.pad_token).unwrap_or(defaults.pad),
            added: added
                .map_or(defaults.added, |added| added.into_iter().map(|(id, token)| (id, token.into_added_token())).collect()),
            max_length: match max_length {
                Some(length) => sensible_length(&config_path, length, defaults.max_length)?,
                None => defaults.max_length,
            },
        }))
    }

    /// The tokens with a role, by the name of the role in the files.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &AddedToken)> {
        let rest = [("unk_token", &self.unk), ("eos_token", &self.eos), ("pad_token", &self.pad)];
        self.bos.iter().map(|bos| ("bos_token", bos)).chain(rest)
    }
}

/// The largest `model_max_length` taken at its word. Where the length is unknown, transformers writes 1e30.
const MAX_SENSIBLE_LENGTH: f64 = 4096.0;
/// Fewer would leave no room for text between the special tokens.
const MIN_LENGTH: f64 = 3.0;

fn sensible_length(path: &Path, length: f64, default: usize) -> Result<usize, TokenizerError> {
    if length < MIN_LENGTH || length.is_nan() {
        return Err(TokenizerError::Unexpected {
            path: path.to_owned(),
            item: "model_max_length".to_owned(),
            expected: format!("at least {MIN_LENGTH}"),
            found: length.to_string(),
        });
    }
    Ok(if length <= MAX_SENSIBLE_LENGTH { length as usize } else { default })
}

/// The fields of interest of `tokenizer_config.json` and of `special_tokens_map.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigJson {
    bos_token: Option<TokenJson>,
    eos_token: Option<TokenJson>,
    unk_token: Option<TokenJson>,
    pad_token: Option<TokenJson>,
    // A float: 1e30 does not fit an integer.
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<BTreeMap<u32, AddedTokenJson>>,
}

/// A special token is written as its text or as an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenJson {
    Text(String),
    Object(AddedTokenJson),
}

impl TokenJson {
    fn into_added_token(self) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content, true),
            Self::Object(token) => token.into_added_token().special(true),
        }
    }
}

/// A token object, as far as it is written out.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "these are the fields of the file")]
pub(crate) struct AddedTokenJson {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

impl AddedTokenJson {
    pub(crate) fn into_added_token(self) -> AddedToken {
        AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized)
    }
}

/// An added token of `tokenizer.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct NumberedToken {
    pub(crate) id: u32,
    #[serde(flatten)]
    pub(crate) token: AddedTokenJson,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_lengths_give_the_default_and_impossible_ones_are_refused() {
        let path = Path::new("tokenizer_config.json");
        for unknown in [1e30, 1e20, 4097.0, f64::INFINITY] {
            assert_eq!(sensible_length(path, unknown, 77).unwrap(), 77, "{unknown}");
        }
        assert_eq!(sensible_length(path, 24.0, 77).unwrap(), 24);
        for impossible in [2.0, 0.0, -1.0, f64::NAN] {
            let said = sensible_length(path, impossible, 77).unwrap_err().to_string();
            assert!(said.contains("tokenizer_config.json: model_max_length: expected at least 3, found"), "{said}");
        }
    }

    #[test]
    fn config_reads_both_spellings_of_a_token_and_a_length_of_1e30() {
        let json = r#"{"model_max_length": 1000000000000000019884624838656, "bos_token": null, "eos_token": "</s>",
            "pad_token": {"__type": "AddedToken", "content": "!", "lstrip": false, "normalized": true}}"#;
        let config: ConfigJson = serde_json::from_str(json).unwrap();
        assert_eq!(config.model_max_length, Some(1e30));
        assert!(config.bos_token.is_none());
        assert_eq!(config.eos_token.map(TokenJson::into_added_token), Some(AddedToken::from("</s>", true)));
        assert_eq!(config.pad_token.map(TokenJson::into_added_token), Some(AddedToken::from("!", true).normalized(true)));
    }
}
