//! What the tokenizers of CLIP and T5 share: the result, the errors, the special tokens and the way to a fixed length.
//!
//! Reference: transformers 5.23.0, `tokenization_utils_base.py` (which file says what) and
//! `tokenization_utils_tokenizers.py`.

mod config;
mod error;
mod files;

use std::fmt;
use std::path::Path;

use tokenizers::{AddedToken, Tokenizer};

pub(crate) use config::{NumberedToken, TokenizerConfig};
pub use error::TokenizerError;
#[cfg(feature = "embedded-tokenizers")]
pub(crate) use files::unpack_embedded;
pub(crate) use files::{parse_json, read_text};

/// The token ids of one prompt, at the length that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Special tokens, text and padding: exactly the requested number of ids.
    pub ids: Vec<u32>,
    /// The end of the text that found no room; `None` where all of it is in `ids`.
    pub truncated: Option<CutText>,
}

/// The end of a text that found no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutText {
    /// As the user wrote it.
    pub text: String,
    /// Its number of tokens.
    pub num_tokens: usize,
}

/// A tokenizer of the `tokenizers` crate that brings every text to a fixed length.
#[derive(Clone)]
pub(crate) struct PromptTokenizer {
    tokenizer: Tokenizer,
    bos: Option<u32>,
    eos: u32,
    pad: u32,
    max_length: usize,
}

impl PromptTokenizer {
    /// Adds the special tokens of `config` to a tokenizer made from `vocabulary`, the file that errors name.
    pub(crate) fn new(mut tokenizer: Tokenizer, config: &TokenizerConfig, vocabulary: &Path) -> Result<Self, TokenizerError> {
        let unexpected = |item: String, expected: String, found: String| TokenizerError::Unexpected {
            path: vocabulary.to_path_buf(),
            item,
            expected,
            found,
        };
        let mut added: Vec<AddedToken> = config.added.values().cloned().collect();
        for (role, token) in config.named() {
            if added.iter().any(|known| known.content == token.content) {
                continue;
            }
            if tokenizer.token_to_id(&token.content).is_none() {
                let expected = format!("an entry `{}`", token.content);
                return Err(unexpected(role.to_owned(), expected, "none".to_owned()));
            }
            added.push(token.clone());
        }
        // Sorted by id, so that those outside the vocabulary get the ids that follow it.
        tokenizer.add_tokens(added).map_err(|source| TokenizerError::Malformed {
            path: vocabulary.to_path_buf(),
            expected: "a vocabulary that takes the special tokens",
            source,
        })?;
        let id = |token: &AddedToken| {
            tokenizer
                .token_to_id(&token.content)
                .ok_or_else(|| unexpected(format!("token `{}`", token.content), "an id".to_owned(), "none".to_owned()))
        };
        for (&expected, token) in &config.added {
            let found = id(token)?;
            if found != expected {
                let item = format!("token `{}`", token.content);
                return Err(unexpected(item, format!("id {expected}"), format!("id {found}")));
            }
        }
        Ok(Self {
            bos: config.bos.as_ref().map(id).transpose()?,
            eos: id(&config.eos)?,
            pad: id(&config.pad)?,
            max_length: config.max_length,
            tokenizer,
        })
    }

    /// More tokens than any text encoder takes.
    const MAX_LENGTH: usize = 1 << 16;

    /// `[bos] text eos pad...`, cut and padded to exactly `length` ids; the text gives way, never a special token.
    pub(crate) fn encode(&self, text: &str, length: usize) -> Result<Encoding, TokenizerError> {
        let (minimum, maximum) = (self.bos.iter().len() + 1, Self::MAX_LENGTH);
        let room = length.checked_sub(minimum).filter(|_| length <= maximum);
        let room = room.ok_or(TokenizerError::Length { length, minimum, maximum })?;
        let tokens = self.tokenizer.encode(text, false).map_err(|source| TokenizerError::Encode { source })?;
        let kept = tokens.len().min(room);

        let mut ids = Vec::with_capacity(length);
        ids.extend(self.bos);
        ids.extend_from_slice(&tokens.get_ids()[..kept]);
        ids.push(self.eos);
        ids.resize(length, self.pad);

        // A token can be part of a character.
        let rest = |&(start, _): &(usize, usize)| CutText {
            text: text[text.floor_char_boundary(start)..].trim().to_owned(),
            num_tokens: tokens.len() - kept,
        };
        Ok(Encoding { ids, truncated: tokens.get_offsets().get(kept).map(rest) })
    }

    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    pub(crate) fn eos_id(&self) -> u32 {
        self.eos
    }

    pub(crate) fn pad_id(&self) -> u32 {
        self.pad
    }

    /// One more than the largest id: a vocabulary may have gaps.
    pub(crate) fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1)
    }
}

// Without the vocabulary, which would fill pages.
impl fmt::Debug for PromptTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptTokenizer")
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .field("pad", &self.pad)
            .field("max_length", &self.max_length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    /// A tokenizer folder of the miniature model.
    pub(crate) fn mini(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../diffusion-app/assets/mini-sd3").join(name)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands for a field")]
    pub(crate) fn cut(text: &str, num_tokens: usize) -> Option<super::CutText> {
        Some(super::CutText { text: text.to_owned(), num_tokens })
    }

    const PIECES: &[&str] = &["!", "<|endoftext|>", "</s>", "<pad>", " ", "\n", "\u{3000}", "'s", "▁", "e\u{301}", "👩‍👧", "cat"];

    /// Characters of every kind, between pieces that tokenizers treat apart.
    pub(crate) fn awkward_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![any::<String>(), prop::sample::select(PIECES).prop_map(str::to_owned)];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }
}
