//! The byte-pair tokenizer of CLIP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diffusion_core::model_path;
use serde::Deserialize;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{self, Lowercase, NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::tokenizer::{Encoding, NumberedToken, PromptTokenizer, TokenizerConfig, TokenizerError, parse_json, read_text};

const START_OF_TEXT: &str = "<|startoftext|>";
const END_OF_TEXT: &str = "<|endoftext|>";

/// The padding token of CLIP-G (id 0).
#[cfg(feature = "embedded-tokenizers")]
const CLIP_G_PAD: &str = "!";

/// The number of positions of every published CLIP text encoder.
const MAX_LENGTH: usize = 77;

/// Marks the symbol that ends a word.
const END_OF_WORD: &str = "</w>";

/// Words, contractions, single digits and runs of other signs.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

const ADVICE: &str = "give the folder that holds vocab.json and merges.txt (or tokenizer.json) and tokenizer_config.json";

/// The tokenizer of the CLIP text encoders: lower case, byte-pair encoding, `<|startoftext|>` text `<|endoftext|>`.
///
/// # Exclamation marks in CLIP-G
///
/// The files of CLIP-G name `!` as padding token, and a special token is found in the text before the vocabulary is asked.
/// So every `!` of a prompt becomes the padding id 0, and "wow!!!" ends in three of them, where CLIP-L, which pads with
/// `<|endoftext|>`, gives 256 (`!</w>`) and 995 (`!!!</w>`). Diffusers pipelines behave so, this does the same, and the
/// ids of the parity fixtures show it. `OpenCLIP`'s and `ComfyUI`'s own tokenizers, which only pad with 0, give 256 and 995.
///
/// Reference: transformers 5.23.0, `models/clip/tokenization_clip.py`.
#[derive(Debug, Clone)]
pub struct ClipTokenizer(PromptTokenizer);

impl ClipTokenizer {
    /// Reads the tokenizer folder of a checkpoint: `vocab.json` and `merges.txt`, or `tokenizer.json` where one of them is
    /// absent, with `tokenizer_config.json` and `special_tokens_map.json`, of which one must be there: nothing else tells
    /// the padding of CLIP-L and CLIP-G apart.
    ///
    /// # Errors
    /// When a file is missing, unreadable or malformed, or when a special token is not in the vocabulary.
    pub fn from_dir(dir: &Path) -> Result<Self, TokenizerError> {
        let files = BpeFiles::read(dir)?;
        let mut config = TokenizerConfig::read(dir, config(END_OF_TEXT))?.ok_or_else(|| TokenizerError::Missing {
            path: dir.join("tokenizer_config.json"),
            expected: "the padding token",
            advice: ADVICE,
        })?;
        if config.added.is_empty() {
            config.added.clone_from(&files.added);
        }
        Self::new(files, &config)
    }

    /// The tokenizer of CLIP-L (`openai/clip-vit-large-patch14`), which pads with `<|endoftext|>`.
    ///
    /// ```
    /// # use diffusion_models::{clip::ClipTokenizer, tokenizer::TokenizerError};
    /// let tokenizer = ClipTokenizer::embedded_clip_l()?;
    /// let encoding = tokenizer.encode("a photo of a cat", 8)?;
    /// assert_eq!(encoding.ids, [49406, 320, 1125, 539, 320, 2368, 49407, 49407]);
    /// # Ok::<(), TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// When the program itself is damaged.
    #[cfg(feature = "embedded-tokenizers")]
    pub fn embedded_clip_l() -> Result<Self, TokenizerError> {
        Self::embedded(END_OF_TEXT)
    }

    /// The tokenizer of CLIP-G (`laion/CLIP-ViT-bigG-14-laion2B-39B-b160k`), which pads with `!`.
    ///
    /// # Errors
    /// When the program itself is damaged.
    #[cfg(feature = "embedded-tokenizers")]
    pub fn embedded_clip_g() -> Result<Self, TokenizerError> {
        Self::embedded(CLIP_G_PAD)
    }

    #[cfg(feature = "embedded-tokenizers")]
    fn embedded(pad: &str) -> Result<Self, TokenizerError> {
        let name = PathBuf::from("(embedded) clip-merges.txt");
        let text = crate::tokenizer::unpack_embedded(include_bytes!("../../assets/tokenizers/clip-merges.txt.gz"), &name)?;
        let merges = parse_merges(&text, &name)?;
        let vocab = vocabulary_of(&merges);
        let files = BpeFiles { vocab, merges, added: BTreeMap::new(), vocab_path: name.clone(), merges_path: name };
        Self::new(files, &config(pad))
    }

    fn new(files: BpeFiles, config: &TokenizerConfig) -> Result<Self, TokenizerError> {
        let BpeFiles { vocab, merges, vocab_path, merges_path, .. } = files;
        require_merged(&vocab, &merges, &merges_path)?;
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .unk_token(config.unk.content.clone())
            .end_of_word_suffix(END_OF_WORD.to_owned())
            .build();
        let tokenizer = model.and_then(pipeline).map_err(|source| TokenizerError::Malformed {
            path: merges_path,
            expected: "merges of tokens of the vocabulary",
            source,
        })?;
        PromptTokenizer::new(tokenizer, config, &vocab_path).map(Self)
    }

    /// The ids of `text` in exactly `length` places: `<|startoftext|>`, the first `length - 2` tokens of the text,
    /// `<|endoftext|>`, padding.
    ///
    /// # Errors
    /// When `length` is less than two.
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoding, TokenizerError> {
        self.0.encode(text, length)
    }

    /// The length that the text encoder was trained with, special tokens included: 77 in the published models.
    pub fn max_length(&self) -> usize {
        self.0.max_length()
    }

    /// The id of `<|endoftext|>`, at whose first place the pooled output is taken.
    pub fn eos_id(&self) -> u32 {
        self.0.eos_id()
    }

    /// The id that fills the places after the text: 49407 in CLIP-L, 0 in CLIP-G.
    pub fn pad_id(&self) -> u32 {
        self.0.pad_id()
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
}

/// What the published configurations say, but for the padding.
fn config(pad: &str) -> TokenizerConfig {
    let end = AddedToken::from(END_OF_TEXT, true);
    TokenizerConfig {
        // Alone of the special tokens it is found in the lower-cased text, so in any case.
        bos: Some(AddedToken::from(START_OF_TEXT, true).normalized(true)),
        eos: end.clone(),
        unk: end,
        pad: AddedToken::from(pad, true),
        added: BTreeMap::new(),
        max_length: MAX_LENGTH,
    }
}

/// Everything of the tokenizer but its special tokens.
fn pipeline(model: BPE) -> tokenizers::Result<Tokenizer> {
    let whitespace = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
    let normalizer = normalizers::Sequence::new(vec![NFC.into(), whitespace.into(), Lowercase.into()]);
    // "Removed" and inverted: what does not match goes.
    let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer))?;
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
    Ok(tokenizer)
}

/// A byte-pair vocabulary, and the files that errors about its two halves name.
struct BpeFiles {
    vocab: Vocab,
    merges: Merges,
    added: BTreeMap<u32, AddedToken>,
    vocab_path: PathBuf,
    merges_path: PathBuf,
}

impl BpeFiles {
    fn read(dir: &Path) -> Result<Self, TokenizerError> {
        let (vocab_path, merges_path) = (dir.join("vocab.json"), dir.join("merges.txt"));
        let json_path = dir.join("tokenizer.json");
        if model_path::exists(&json_path) && !(model_path::exists(&vocab_path) && model_path::exists(&merges_path)) {
            return Self::read_json(json_path);
        }
        let vocab = read_text(&vocab_path, "the vocabulary of CLIP", ADVICE)?;
        let vocab = parse_json(&vocab, &vocab_path, "a JSON object of tokens and their ids")?;
        let merges = parse_merges(&read_text(&merges_path, "the merges of CLIP", ADVICE)?, &merges_path)?;
        Ok(Self { vocab, merges, added: BTreeMap::new(), vocab_path, merges_path })
    }

    fn read_json(path: PathBuf) -> Result<Self, TokenizerError> {
        let text = read_text(&path, "a CLIP tokenizer", ADVICE)?;
        let json: TokenizerJson = parse_json(&text, &path, "a tokenizer with a byte-pair vocabulary and merges")?;
        let merges = json.model.merges.into_iter().enumerate();
        let merges = merges.map(|(index, merge)| merge.into_pair(&path, index)).collect::<Result<_, _>>()?;
        let added = json.added_tokens.into_iter().map(|added| (added.id, added.token.into_added_token())).collect();
        Ok(Self { vocab: json.model.vocab, merges, added, vocab_path: path.clone(), merges_path: path })
    }
}

/// Refuse merges of what is not in the vocabulary: `BPE` panics at some.
fn require_merged(vocab: &Vocab, merges: &Merges, path: &Path) -> Result<(), TokenizerError> {
    for (left, right) in merges {
        let merged = format!("{left}{right}");
        if let Some(unknown) = [left, right, &merged].into_iter().find(|symbol| !vocab.contains_key(symbol.as_str())) {
            return Err(TokenizerError::Unexpected {
                path: path.to_path_buf(),
                item: format!("the merge of {left:?} and {right:?}"),
                expected: "symbols of the vocabulary".to_owned(),
                found: format!("{unknown:?}, which is not in it"),
            });
        }
    }
    Ok(())
}

fn parse_merges(text: &str, path: &Path) -> Result<Merges, TokenizerError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"))
        .map(|(index, line)| parse_merge(line, path, || format!("line {}", index + 1)))
        .collect()
}

fn parse_merge(merge: &str, path: &Path, place: impl FnOnce() -> String) -> Result<(String, String), TokenizerError> {
    match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(TokenizerError::Unexpected {
            path: path.to_path_buf(),
            item: place(),
            expected: "two symbols with one space between them".to_owned(),
            found: format!("{merge:?}"),
        }),
    }
}

/// The vocabulary that CLIP makes of its merges: each byte, each byte at the end of a word, each merge, the special tokens.
///
/// Reference: `OpenAI`'s `clip/simple_tokenizer.py`, lines 66 to 75.
#[cfg(feature = "embedded-tokenizers")]
fn vocabulary_of(merges: &Merges) -> Vocab {
    // Printable bytes stand for themselves and come first; the other 68 are written as the characters from U+0100 on.
    let bytes = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('\u{100}'..='\u{143}').map(String::from);
    let ends = bytes.clone().map(|byte| byte + END_OF_WORD);
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let special = [START_OF_TEXT, END_OF_TEXT].map(str::to_owned);
    bytes.chain(ends).chain(merged).chain(special).zip(0..).collect()
}

/// The parts of `tokenizer.json` that differ between CLIP tokenizers.
#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<NumberedToken>,
    model: ModelJson,
}

#[derive(Deserialize)]
struct ModelJson {
    vocab: Vocab,
    merges: Vec<MergeJson>,
}

/// Files of tokenizers before 0.20 have one string for the pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeJson {
    Text(String),
    Pair(String, String),
}

impl MergeJson {
    fn into_pair(self, path: &Path, index: usize) -> Result<(String, String), TokenizerError> {
        match self {
            Self::Pair(left, right) => Ok((left, right)),
            Self::Text(merge) => parse_merge(&merge, path, || format!("model.merges[{index}]")),
        }
    }
}

#[cfg(test)]
mod tests;
