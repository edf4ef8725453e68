//! Text encoders behind a box.

use std::any::Any;
use std::fmt::{self, Debug, Display};

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::weights::{ComponentId, ComponentPatches, LoadedNetwork, PatchMode};

use crate::error::PipelineError;
use crate::tokenizer::Encoding;
use diffusion_core::network::Conditioning;

/// The text encoders of a model, with their tokenizers.
pub trait PromptEncoder: Any + Debug + Send {
    /// Encode one text, of which T5 sees `max_sequence_length` tokens.
    ///
    /// # Errors
    /// [`PipelineError`] if the length is zero, or an encoder's file was written to since it was opened.
    fn encode(&self, text: &str, max_sequence_length: usize) -> Result<EncodedText, PipelineError>;

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

/// The end of a text that an encoder did not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The encoder.
    pub component: ComponentId,
    /// What it did not see.
    pub rest: String,
}

impl Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the prompt is longer than {} takes; it does not see the end: {:?}", self.component, self.rest)
    }
}

/// Token ids as `[1, len]`; what was cut off is added to `truncated`.
pub(crate) fn token_ids(
    encoding: Encoding,
    component: ComponentId,
    truncated: &mut Vec<Truncation>,
    device: &Device,
) -> Tensor<2, Int> {
    truncated.extend(encoding.truncated.map(|rest| Truncation { component, rest }));
    let ids: Vec<i32> = encoding.ids.iter().map(|&id| id as i32).collect();
    let len = ids.len();
    Tensor::from_data(TensorData::new(ids, [1, len]), device)
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
