//! The unigram tokenizer of T5.

use std::collections::BTreeMap;
use std::path::Path;
#[cfg(feature = "embedded-tokenizers")]
use std::path::PathBuf;

use diffusion_core::model_path;
use tokenizers::AddedToken;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

use super::tokenizer_file;
use crate::tokenizer::{Encoding, PromptTokenizer, TokenizerConfig, TokenizerError, read_text};

/// The length T5 v1.1 was trained with.
const MAX_LENGTH: usize = 512;

/// Stands for a space in the vocabulary.
const SPACE: char = '▁';

const ADVICE: &str = "give the folder that holds it, or take the embedded tokenizer (T5Tokenizer::embedded)";

const SPIECE_ADVICE: &str = "there is only spiece.model, which cannot be read: have transformers convert it \
    (T5TokenizerFast.from_pretrained(folder).save_pretrained(folder)), or take the embedded tokenizer (T5Tokenizer::embedded)";

/// The tokenizer of the T5 text encoders: `SentencePiece` unigrams, text `</s>`.
///
/// Of `tokenizer.json` it takes the vocabulary and the table of character replacements. What surrounds them is fixed: the
/// text is split at whitespace, of which any amount counts as one space, and each word gets its `▁`. Published files
/// describe this in other ways, with the same ids for ordinary text.
///
/// Reference: transformers 5.23.0, `models/t5/tokenization_t5.py`.
#[derive(Debug, Clone)]
pub struct T5Tokenizer(PromptTokenizer);

impl T5Tokenizer {
    /// Reads the tokenizer folder of a checkpoint: `tokenizer.json`, with `tokenizer_config.json` and
    /// `special_tokens_map.json` where they exist.
    ///
    /// # Errors
    /// When `tokenizer.json` is missing, a file is unreadable or malformed, or a special token is not in the vocabulary.
    pub fn from_dir(dir: &Path) -> Result<Self, TokenizerError> {
        let path = dir.join("tokenizer.json");
        let advice = if model_path::exists(&dir.join("spiece.model")) { SPIECE_ADVICE } else { ADVICE };
        let text = read_text(&path, "the T5 tokenizer", advice)?;
        let config = TokenizerConfig::read(dir, config())?.unwrap_or_else(config);
        Self::new(&text, &config, &path)
    }

    /// The tokenizer of T5 v1.1 (`google/t5-v1_1-xxl`).
    ///
    /// ```
    /// # use diffusion_models::{t5::T5Tokenizer, tokenizer::TokenizerError};
    /// let encoding = T5Tokenizer::embedded()?.encode("a photo of a cat", 10)?;
    /// assert_eq!(encoding.ids, [3, 9, 1202, 13, 3, 9, 1712, 1, 0, 0]);
    /// # Ok::<(), TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// When the program itself is damaged.
    #[cfg(feature = "embedded-tokenizers")]
    pub fn embedded() -> Result<Self, TokenizerError> {
        let name = PathBuf::from("(embedded) t5-tokenizer.json");
        let text = crate::tokenizer::unpack_embedded(include_bytes!("../../assets/tokenizers/t5-tokenizer.json.gz"), &name)?;
        Self::new(&text, &config(), &name)
    }

    fn new(json: &str, config: &TokenizerConfig, path: &Path) -> Result<Self, TokenizerError> {
        let mut tokenizer = tokenizer_file::read(json, path)?;
        let spaces = Metaspace::new(SPACE, PrependScheme::Always, true);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), spaces.into()])));
        PromptTokenizer::new(tokenizer, config, path).map(Self)
    }

    /// The ids of `text` in exactly `length` places: the first `length - 1` tokens of the text, `</s>`, padding.
    ///
    /// # Errors
    /// When `length` is zero.
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoding, TokenizerError> {
        self.0.encode(text, length)
    }

    /// The length the checkpoint states, special tokens included; pipelines may choose another, T5 has no limit.
    pub fn max_length(&self) -> usize {
        self.0.max_length()
    }

    /// The id of `</s>`, which ends the text: 1.
    pub fn eos_id(&self) -> u32 {
        self.0.eos_id()
    }

    /// The id that fills the places after the text: 0.
    pub fn pad_id(&self) -> u32 {
        self.0.pad_id()
    }

    /// One more than the largest id: 32100 in the published models, whose embedding has 32128 rows.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
}

/// What the published configurations say.
fn config() -> TokenizerConfig {
    TokenizerConfig {
        bos: None,
        eos: AddedToken::from("</s>", true),
        unk: AddedToken::from("<unk>", true),
        pad: AddedToken::from("<pad>", true),
        added: BTreeMap::new(),
        max_length: MAX_LENGTH,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::tokenizer::tests::{awkward_text, cut, mini};

    #[cfg(feature = "embedded-tokenizers")]
    #[test]
    fn ids_are_those_of_transformers() {
        // transformers 5.23.0, T5Tokenizer on the same files.
        let vectors: [(&str, &[u32]); 10] = [
            ("", &[1]),
            ("a photo of a cat", &[3, 9, 1202, 13, 3, 9, 1712, 1]),
            ("A cat holding a sign that says hello world", &[71, 1712, 3609, 3, 9, 1320, 24, 845, 21820, 296, 1]),
            ("  double  spaces, trailing ", &[1486, 4856, 6, 5032, 53, 1]),
            ("naïve café №1 — 10:30!", &[3, 29, 9, 2, 162, 11949, 465, 536, 3, 318, 26132, 55, 1]),
            ("it's 2024\nnew line", &[34, 31, 7, 460, 2266, 126, 689, 1]),
            ("ｆｕｌｌｗｉｄｔｈ", &[423, 12018, 189, 1]),
            ("emoji 🙂 test", &[3, 15, 51, 21892, 3, 2, 794, 1]),
            ("wow!!! a cat!", &[2275, 210, 3158, 3, 9, 1712, 55, 1]),
            ("a<extra_id_0>b </s>c", &[3, 9, 32099, 3, 115, 1, 3, 75, 1]),
        ];
        let tokenizer = T5Tokenizer::embedded().unwrap();
        for (text, ids) in vectors {
            let encoding = tokenizer.encode(text, ids.len()).unwrap();
            assert_eq!(encoding, Encoding { ids: ids.to_vec(), truncated: None }, "{text:?}");
        }
    }

    #[cfg(feature = "embedded-tokenizers")]
    #[test]
    fn embedded_tokenizer_has_the_published_numbers() {
        let tokenizer = T5Tokenizer::embedded().unwrap();
        let numbers = (tokenizer.max_length(), tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.vocab_size());
        assert_eq!(numbers, (512, 1, 0, 32100));
    }

    #[test]
    fn miniature_gives_the_reference_ids() {
        let tokenizer = T5Tokenizer::from_dir(&mini("tokenizer_3")).unwrap();
        assert_eq!((tokenizer.max_length(), tokenizer.pad_id(), tokenizer.vocab_size()), (32, 0, 171));

        let prompt = "a red house in the snow at night, a full moon in the sky";
        let mut ids = vec![4, 16, 29, 8, 5, 44, 10, 31, 9, 4, 50, 20, 8, 5, 11, 1];
        ids.resize(32, 0);
        assert_eq!(tokenizer.encode(prompt, 32).unwrap(), Encoding { ids, truncated: None });

        let prompt = "a small red star above the Blue sea, at night! (3 boats)";
        let ids = vec![4, 37, 16, 45, 59, 5, 78, 109, 118, 102, 42, 9, 10, 31, 160, 3, 167, 153, 55, 116, 168, 1, 0, 0];
        assert_eq!(tokenizer.encode(prompt, 24).unwrap(), Encoding { ids, truncated: None });
    }

    // The file asks for NFKC and keeps newlines; transformers heeds neither.
    #[test]
    fn whitespace_of_any_kind_and_amount_is_one_space() {
        let tokenizer = T5Tokenizer::from_dir(&mini("tokenizer_3")).unwrap();
        let plain = tokenizer.encode("a red house", 8).unwrap();
        for text in ["  a  red house ", "a\nred\t\thouse\n", "\u{3000}a\u{a0}red\r\nhouse"] {
            assert_eq!(tokenizer.encode(text, 8).unwrap(), plain, "{text:?}");
        }
    }

    #[test]
    fn truncation_keeps_the_end_token_and_reports_the_rest() {
        let tokenizer = T5Tokenizer::from_dir(&mini("tokenizer_3")).unwrap();
        let encoding = tokenizer.encode("a red house in the snow", 4).unwrap();
        assert_eq!(encoding, Encoding { ids: vec![4, 16, 29, 1], truncated: cut("in the snow", 3) });
        let encoding = tokenizer.encode("a red house", 1).unwrap();
        assert_eq!(encoding, Encoding { ids: vec![1], truncated: cut("a red house", 3) });
        let error = tokenizer.encode("a", 0).unwrap_err();
        assert!(matches!(error, TokenizerError::Length { length: 0, minimum: 1, .. }), "{error}");
    }

    #[test]
    fn missing_file_error_says_what_to_do() {
        let dir = TempDir::new().unwrap();
        let message = T5Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json") && !message.contains("spiece.model"), "{message}");

        fs::write(dir.path().join("spiece.model"), b"\x0a\x0e").unwrap();
        let message = T5Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(message.contains("only spiece.model") && message.contains("save_pretrained"), "{message}");
    }

    #[test]
    fn vocabulary_of_another_kind_is_refused() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("tokenizer.json");
        fs::write(&path, r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#).unwrap();
        let error = T5Tokenizer::from_dir(dir.path()).unwrap_err();
        assert!(matches!(&error, TokenizerError::Unexpected { path: at, .. } if *at == path), "{error}");

        fs::write(&path, "{").unwrap();
        let error = T5Tokenizer::from_dir(dir.path()).unwrap_err();
        assert!(matches!(&error, TokenizerError::Malformed { path: at, .. } if *at == path), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_gives_exactly_the_length(text in awkward_text(), length in 1_usize..40) {
            thread_local!(static MINI: T5Tokenizer = T5Tokenizer::from_dir(&mini("tokenizer_3")).unwrap());
            let encoding = MINI.with(|tokenizer| tokenizer.encode(&text, length)).unwrap();
            prop_assert_eq!(encoding.ids.len(), length);
            prop_assert!(encoding.ids.contains(&1));
            prop_assert!(encoding.truncated.is_none_or(|rest| text.contains(&rest.text)));
        }
    }
}
