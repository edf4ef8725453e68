//! What `ComfyUI` notes of the format of a layer's weight.
//!
//! Beside `X.weight` lies `X.comfy_quant`, JSON as bytes: `{"format": "float8_e4m3fn"}`. Or the header has all notes of a file
//! under `_quantization_metadata`. Reference: `ComfyUI` `QUANTIZATION.md` and `comfy/quant_ops.py` at 7f75cc2.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::CheckpointError;
use super::stored_tensor::{StoredTensor, Tensors};
use crate::format::Format;

/// The header entry with the notes of all layers.
pub(super) const HEADER_KEY: &str = "_quantization_metadata";
const ENDING: &str = ".comfy_quant";
/// Notes have about a hundred bytes.
const MOST_BYTES: usize = 1 << 16;

/// Entries without effect on what the weights are: they choose how products are computed.
const WITHOUT_EFFECT: [&str; 1] = ["full_precision_matrix_mult"];

/// What is noted of a layer.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Note {
    /// The format's name.
    pub(super) format: String,
    #[serde(flatten)]
    settings: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct HeaderNotes {
    layers: BTreeMap<String, Note>,
}

impl Note {
    /// The number format of the weight, for the formats that are read: a number times a scale.
    pub(super) fn scaled_format(&self) -> Option<Format> {
        match self.format.as_str() {
            "float8_e4m3fn" => Some(Format::F8E4M3),
            "float8_e5m2" => Some(Format::F8E5M2),
            _ => None,
        }
    }

    /// A setting that may change what the weights are.
    pub(super) fn unknown_setting(&self) -> Option<&str> {
        let has_effect = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
        let unknown = |(name, value): &(&String, &Value)| !WITHOUT_EFFECT.contains(&name.as_str()) && has_effect(value);
        self.settings.iter().find(unknown).map(|(name, _)| name.as_str())
    }
}

/// The layer that a tensor is a note of.
pub(super) fn layer_of(name: &str) -> Option<&str> {
    name.strip_suffix(ENDING)
}

/// The notes of all layers that have a weight, each with the tensor that errors about it name.
pub(super) fn notes(tensors: &Tensors) -> Result<BTreeMap<String, (Note, &StoredTensor)>, CheckpointError> {
    let mut notes = BTreeMap::new();
    let mut last_file = None;
    for tensor in tensors.values() {
        // Tensors of a file mostly follow one another; to read a header twice does no harm.
        if last_file.replace(tensor.path()) == Some(tensor.path()) {
            continue;
        }
        let Some(text) = tensor.file_metadata().and_then(|header| header.get(HEADER_KEY)) else { continue };
        let failed = |error: serde_json::Error| unreadable(tensor, HEADER_KEY, error.to_string());
        let HeaderNotes { layers } = serde_json::from_str(text).map_err(failed)?;
        for (layer, note) in layers {
            if let Some(weight) = tensors.get(&format!("{layer}.weight")) {
                notes.insert(layer, (note, weight));
            }
        }
    }
    for (name, tensor) in tensors {
        let Some(layer) = layer_of(name) else { continue };
        if tensor.num_bytes() > MOST_BYTES {
            return Err(unreadable(tensor, name, format!("{} bytes", tensor.num_bytes())));
        }
        tensor.check_unchanged()?;
        let note = serde_json::from_slice(&tensor.bytes()).map_err(|error| unreadable(tensor, name, error.to_string()))?;
        notes.insert(layer.to_owned(), (note, tensor));
    }
    Ok(notes)
}

fn unreadable(tensor: &StoredTensor, name: &str, found: String) -> CheckpointError {
    CheckpointError::Note { path: tensor.path().to_owned(), note: name.to_owned(), found, expected: "JSON with a format" }
}
