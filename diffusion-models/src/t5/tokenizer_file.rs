//! `tokenizer.json` of T5, as far as it says something of its own.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::unigram::Unigram;
use tokenizers::{AddedToken, Tokenizer};

use super::replacement_table;
use crate::tokenizer::{NumberedToken, TokenizerError, parse_json};

#[derive(Deserialize)]
struct FileJson {
    #[serde(default)]
    added_tokens: Vec<NumberedToken>,
    #[serde(default)]
    normalizer: Value,
    model: ModelJson,
}

#[derive(Deserialize)]
struct ModelJson {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Value,
    #[serde(default)]
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
}

/// The vocabulary, the table of character replacements and the added tokens of a file. What else it describes is not made:
/// it could be anything.
pub(super) fn read(text: &str, path: &Path) -> Result<Tokenizer, TokenizerError> {
    const EXPECTED: &str = "a tokenizer with a unigram vocabulary";
    let malformed = |source| TokenizerError::Malformed { path: path.to_path_buf(), expected: EXPECTED, source };
    let FileJson { added_tokens, normalizer, model } = parse_json(text, path, EXPECTED)?;
    if model.kind.is_some_and(|kind| kind != "Unigram") {
        return Err(TokenizerError::Unexpected {
            path: path.to_path_buf(),
            item: "model".to_owned(),
            expected: "a unigram vocabulary, as T5 has".to_owned(),
            found: "another kind of vocabulary".to_owned(),
        });
    }
    // Without it, a text with a character outside the vocabulary would have no ids.
    if model.unk_id.is_none() {
        return Err(TokenizerError::Unexpected {
            path: path.to_path_buf(),
            item: "unk_id".to_owned(),
            expected: "the id of the token for unknown characters".to_owned(),
            found: "none".to_owned(),
        });
    }
    let vocab: Vec<(String, f64)> = serde_json::from_value(model.vocab).map_err(|source| malformed(source.into()))?;
    let unigram = Unigram::from(vocab, model.unk_id, model.byte_fallback).map_err(malformed)?;
    let mut tokenizer = Tokenizer::new(unigram);
    if let Some(encoded) = precompiled(&normalizer) {
        let table = replacement_table::read(encoded).map_err(|source| malformed(source.into()))?;
        tokenizer.with_normalizer(Some(table)).map_err(malformed)?;
    }
    let mut added_tokens = added_tokens;
    added_tokens.sort_by_key(|added| added.id);
    let added: Vec<AddedToken> = added_tokens.into_iter().map(|added| added.token.into_added_token()).collect();
    tokenizer.add_tokens(added).map_err(malformed)?;
    Ok(tokenizer)
}

/// The table of character replacements in a normalizer, or in one of a sequence, as it is written.
fn precompiled(normalizer: &Value) -> Option<&str> {
    match normalizer.get("type")?.as_str()? {
        "Precompiled" => normalizer.get("precompiled_charsmap")?.as_str(),
        "Sequence" => normalizer.get("normalizers")?.as_array()?.iter().find_map(precompiled),
        _ => None,
    }
}
