//! What a file says of itself besides its tensors.

use std::collections::BTreeMap;

/// What a new file says of itself besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// For GGUF files: other programs choose the model by it.
    pub architecture: Option<&'a str>,
    /// Text by key: `__metadata__` of safetensors files, entries of the type text in GGUF files.
    pub entries: BTreeMap<String, String>,
}
