//! From a tokenizer's result to a tensor.

use burn::tensor::{Device, Int, Tensor, TensorData};

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
