//! What the families do with text encoders.

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::{Application, LoadedNetwork, Part, PartChanges};

use crate::tokenizer::Encoding;

/// Token ids as `[1, len]`, with a warning where the text was cut.
pub(crate) fn token_ids(encoding: Encoding, encoder: &str, device: &Device) -> Tensor<2, Int> {
    if let Some(rest) = encoding.truncated {
        tracing::warn!("the prompt is longer than {encoder} takes; it does not see the end: {rest:?}");
    }
    let ids: Vec<i32> = encoding.ids.iter().map(|&id| id as i32).collect();
    let len = ids.len();
    Tensor::from_data(TensorData::new(ids, [1, len]), device)
}

/// A text encoder with its tokenizer, its weights changed as `changes` say of `part`.
pub(crate) fn with_changes<T, E: LoadedNetwork>(
    encoder: Option<(T, E)>,
    part: Part,
    changes: &PartChanges,
    application: Application,
) -> Result<Option<(T, E)>, CheckpointError> {
    let Some((tokenizer, encoder)) = encoder else { return Ok(None) };
    let changes = changes.get(&part).cloned().unwrap_or_default();
    Ok(Some((tokenizer, encoder.change_weights(&changes, application)?)))
}
