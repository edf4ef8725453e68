//! What a converted file says of itself.

use std::collections::BTreeMap;

use super::container::Container;
use crate::checkpoint::checkpoint::Checkpoint;
use crate::checkpoint::comfy_quant;

/// What is true of the old file alone: which numbers it has, and how they are stored.
const OF_THE_OLD_FILE: [&str; 12] = [
    // Every safetensors file says which program's tensors it holds; the writer does.
    "format",
    comfy_quant::HEADER_KEY,
    // Of shards.
    "total_size",
    // Sums over the bytes of the tensors.
    "modelspec.hash_sha256",
    "sshs_model_hash",
    "sshs_legacy_hash",
    // Of GGUF files.
    "general.architecture",
    "general.alignment",
    "general.file_type",
    "general.quantization_version",
    "general.quantized_by",
    "general.size_label",
];

/// The longest key of a GGUF file, in bytes. Reference: ggml `docs/gguf.md`.
const LONGEST_GGUF_KEY: usize = 65535;

/// The entries of a checkpoint's header that a file of other numbers keeps, because they say what the numbers mean: the alpha of
/// a LoRA, what it was trained for. And the keys of those that it cannot have.
pub(super) fn kept_entries(checkpoint: &Checkpoint, container: Container) -> (BTreeMap<String, String>, Vec<String>) {
    let entries = checkpoint.metadata_entries().into_iter().filter(|(key, _)| !OF_THE_OLD_FILE.contains(key));
    let holds = |key: &str| match container {
        Container::Safetensors => true,
        Container::Gguf => !key.is_empty() && key.is_ascii() && key.len() <= LONGEST_GGUF_KEY,
    };
    let (kept, dropped): (Vec<_>, Vec<_>) = entries.partition(|(key, _)| holds(key));
    let kept = kept.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    (kept, dropped.into_iter().map(|(key, _)| key.to_owned()).collect())
}
