//! Text encoders behind a box.

use std::any::Any;
use std::fmt::{self, Debug, Display};

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::weights::{ComponentId, ComponentPatches, LoadedNetwork, PatchMode};

use crate::error::PipelineError;
use crate::tokenizer::{CutText, Encoding};
use diffusion_core::network::Conditioning;

/// The text encoders of a model, with their tokenizers.
pub trait PromptEncoder: Any + Debug + Send {
    /// Encode one text, of which T5 sees `max_sequence_length` tokens.
    ///
    /// # Errors
    /// [`PipelineError`] if the length is zero, or an encoder's file was written to since it was opened.
    fn encode(&self, text: &str, max_sequence_length: usize) -> Result<EncodedText, PipelineError>;

    /// Encode one text with the CLIPs as they are now. What T5 says of it is taken from `known`, the same text as it was encoded
    /// before, so T5 need not be there.
    ///
    /// Where autodiff watches what the CLIPs are patched with, the result leads to it.
    ///
    /// # Errors
    /// [`PipelineError`] if an encoder's file was written to since it was opened.
    /// # Panics
    /// If `known` has fewer tokens than the CLIPs give.
    fn encode_again(&self, text: &str, known: &Conditioning) -> Result<Conditioning, PipelineError>;

    /// The same encoders with `patches` in place of those of now.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file cannot be read any more; the encoders are used up.
    fn patched(self: Box<Self>, patches: &ComponentPatches, mode: PatchMode) -> Result<Box<dyn PromptEncoder>, CheckpointError>;
}

/// An encoded text.
#[derive(Clone, Debug)]
pub struct EncodedText {
    /// What the denoising network takes.
    pub conditioning: Conditioning,
    /// What encoders did not see of the text.
    pub truncated: Vec<Truncation>,
}

/// A text as text encoders get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedText {
    /// Token ids, by the encoders that there are.
    pub ids: Vec<(ComponentId, Vec<u32>)>,
    /// What encoders will not see of the text.
    pub truncated: Vec<Truncation>,
    /// Width of the token vectors that will be made of it.
    pub token_width: usize,
    /// Width of the pooled vector.
    pub pooled_width: usize,
}

impl TokenizedText {
    /// An encoder's part.
    pub(crate) fn add(&mut self, encoding: Encoding, component: ComponentId) {
        self.truncated.extend(truncation(&encoding, component));
        self.ids.push((component, encoding.ids));
    }
}

/// The end of a text that an encoder did not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The encoder.
    pub component: ComponentId,
    /// Tokens that it takes, special tokens included.
    pub max_tokens: usize,
    /// Tokens that it did not see.
    pub num_cut: usize,
    /// What it did not see.
    pub rest: String,
}

impl Truncation {
    /// The first words that the encoder did not see, on one line.
    fn first_words(&self) -> String {
        const MOST_CHARACTERS: usize = 80;
        let mut words = String::new();
        for word in self.rest.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            let space = if words.is_empty() { "" } else { " " };
            if words.chars().count() + space.len() + word.chars().count() > MOST_CHARACTERS {
                // A word that is longer than all that is shown is cut itself.
                words.extend(word.chars().take(if words.is_empty() { MOST_CHARACTERS } else { 0 }));
                return words + "...";
            }
            words = words + space + word;
        }
        words
    }
}

impl Display for Truncation {
    /// A sentence of at most 200 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, max_tokens, num_cut, .. } = self;
        let (tokens, words) = (max_tokens + num_cut, self.first_words());
        write!(f, "the prompt is longer than {component} takes: {tokens} tokens, of which it sees {max_tokens}; ")?;
        write!(f, "it does not see the end: \"{words}\"")
    }
}

/// Token ids as `[1, len]`; what was cut off is added to `truncated`.
pub(crate) fn token_ids(
    encoding: Encoding,
    component: ComponentId,
    truncated: &mut Vec<Truncation>,
    device: &Device,
) -> Tensor<2, Int> {
    truncated.extend(truncation(&encoding, component));
    let ids: Vec<i32> = encoding.ids.iter().map(|&id| id as i32).collect();
    let len = ids.len();
    Tensor::from_data(TensorData::new(ids, [1, len]), device)
}

/// What the encoder of these tokens does not see of the text.
fn truncation(encoding: &Encoding, component: ComponentId) -> Option<Truncation> {
    let CutText { text, num_tokens } = encoding.truncated.as_ref()?;
    Some(Truncation { component, max_tokens: encoding.ids.len(), num_cut: *num_tokens, rest: text.clone() })
}

/// A text encoder with its tokenizer, patched as `patches` say of `component`.
pub(crate) fn with_patches<T, E: LoadedNetwork>(
    encoder: Option<(T, E)>,
    component: ComponentId,
    patches: &ComponentPatches,
    mode: PatchMode,
) -> Result<Option<(T, E)>, CheckpointError> {
    let Some((tokenizer, encoder)) = encoder else { return Ok(None) };
    let patches = patches.get(&component).cloned().unwrap_or_default();
    Ok(Some((tokenizer, encoder.patched(&patches, mode)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::T5XXL;

    fn said(rest: &str) -> String {
        Truncation { component: T5XXL, max_tokens: 256, num_cut: 1_000_000_000, rest: rest.to_owned() }.to_string()
    }

    #[test]
    fn a_warning_names_the_number_of_tokens_and_the_first_words_that_are_cut() {
        let expected = "the prompt is longer than T5 takes: 1000000256 tokens, of which it sees 256; it does not see the end: \
                        \"in the snow\"";
        assert_eq!(said(" in the\n\u{1b} snow "), expected);
        for long in ["snow and ".repeat(10_000), "w".repeat(10_000), "\u{e9}".repeat(500), "\n".repeat(999)] {
            let said = said(&long);
            assert!(said.chars().count() <= 200 && !said.contains('\n'), "{said}");
        }
        assert!(said(&"snow and ".repeat(100)).ends_with("and snow and snow and...\""));
    }
}
