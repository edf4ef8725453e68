//! The tensors of a file by the modules that they are about.

use std::collections::{BTreeMap, BTreeSet};

use diffusion_core::checkpoint::{Checkpoint, StoredTensor};

use crate::error::LoraError;
use crate::tensors::{Role, TensorName};

/// The tensors of a file by the modules that they are about.
#[derive(Debug, Default)]
pub(crate) struct FileContents<'a> {
    pub(crate) modules: BTreeMap<&'a str, BTreeMap<Role, StoredTensor>>,
    /// Tensors that belong to no adapter.
    pub(crate) unexpected: Vec<String>,
    /// Tensors that textual inversion puts into a LoRA.
    pub(crate) embeddings: Vec<String>,
    /// What PEFT calls the adapters, where names tell.
    pub(crate) adapter_names: BTreeSet<&'a str>,
    /// Whether there is a tensor that adapters alone have.
    pub(crate) has_adapters: bool,
}

/// What names of embeddings start with that come inside a LoRA, as OneTrainer and ComfyUI have them.
const EMBEDDING_PREFIX: &str = "bundle_emb.";

impl<'a> FileContents<'a> {
    /// Sort the tensors of a file.
    ///
    /// # Errors
    /// [`LoraError::Unsupported`], [`LoraError::Twice`], or [`LoraError::SeveralAdapters`].
    pub(crate) fn read(checkpoint: &'a Checkpoint) -> Result<Self, LoraError> {
        let path = || checkpoint.path().to_owned();
        let mut contents = Self::default();
        let mut adapters: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for (name, tensor) in checkpoint.tensors() {
            if name.starts_with(EMBEDDING_PREFIX) {
                contents.embeddings.push(name.to_owned());
                continue;
            }
            let Some(TensorName { module, role, adapter, is_plain }) = TensorName::parse(name) else {
                contents.unexpected.push(name.to_owned());
                continue;
            };
            if let Role::Unsupported(kind) = role {
                return Err(LoraError::Unsupported { path: path(), kind, module: module.to_owned() });
            }
            if let Some(adapter) = adapter {
                if let Some(first) = adapters.entry(module).or_default().replace(adapter).filter(|first| *first != adapter) {
                    let [module, first, second] = [module, first, adapter].map(str::to_owned);
                    return Err(LoraError::SeveralAdapters { path: path(), module, first, second });
                }
                contents.adapter_names.insert(adapter);
            }
            contents.has_adapters |= !is_plain && !matches!(role, Role::Alpha | Role::Reshape);
            let before = contents.modules.entry(module).or_default().insert(role, tensor.clone());
            if let Some(before) = before {
                let [first, second] = [before.name(), name].map(str::to_owned);
                return Err(LoraError::Twice { path: path(), first, second });
            }
        }
        Ok(contents)
    }
}
