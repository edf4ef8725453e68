//! Checkpoint files: memory-mapped, lazy, strict.
//!
//! [`Checkpoint::open`] reads only headers. [`Checkpoint::renamed`] applies a family's [`KeyMap`]; [`Checkpoint::load_into`]
//! fills a module and refuses whatever does not fit to the last name. [`write`](mod@write) goes the other way.

mod blocks;
mod error;
mod format;
mod gguf;
mod key_map;
mod load;
mod open;
mod published_names;
mod stored_tensor;
pub mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;

pub use error::{CheckpointError, Mismatch};
pub use format::{BlockSize, Format};
pub use gguf::GgufProblem;
pub use key_map::KeyMap;
pub use load::parameter_shapes;
pub(crate) use load::published_path;
pub use published_names::{Arrangement, PublishedNames, PublishedPart, PublishedTensor};
pub use stored_tensor::StoredTensor;

pub(crate) use self::blocks::iq::IQ4_NL_VALUES;
use crate::precision::Precision;
use crate::weight_change::WeightChange;

/// The tensors of a checkpoint by name. Cheap to clone: the files stay mapped, nothing is read until it is loaded.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// What the tensors are to be loaded into, for error messages.
    model: String,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Checkpoint {
    /// Open a safetensors or GGUF file, a `.safetensors.index.json` with its shards, or a component folder with either.
    ///
    /// A GGUF file is known by its first bytes. Its names stay as they are, a prefix `model.diffusion_model.` too; only T5's,
    /// which are llama.cpp's, become those of transformers.
    ///
    /// # Errors
    /// [`CheckpointError`] when a file is missing, truncated or malformed.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Ok(Self { path: path.to_owned(), model: "the model".to_owned(), tensors: open::open(path)? })
    }

    /// Open a safetensors or GGUF file whose bytes are in memory; `path` is its name in error messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(path: &Path, bytes: impl Into<bytes::Bytes>) -> Result<Self, CheckpointError> {
        let tensors = open::open_bytes(path, bytes.into())?;
        Ok(Self { path: path.to_owned(), model: "the model".to_owned(), tensors })
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the header of a safetensors file says under `key` besides the tensors; of shards, that of the first tensor's.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.tensors.values().next()?.file_metadata()?.get(key).map(String::as_str)
    }

    /// Names and tensors, in order of names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// The shape of the tensor of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(StoredTensor::shape)
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Bytes of all tensors in their files.
    pub fn num_bytes(&self) -> usize {
        self.tensors.values().map(StoredTensor::num_bytes).sum()
    }

    /// Give back the memory that reading the tensors took: pages of mapped files count as the process's own until then.
    pub fn release(&self) {
        self.tensors.values().for_each(StoredTensor::release);
    }

    /// Have the operating system start to read the tensors from their file, without waiting for it.
    pub fn read_ahead(&self) {
        self.tensors.values().for_each(StoredTensor::read_ahead);
    }

    /// Only the tensors whose names start with `prefix`, without it.
    pub fn under(&self, prefix: &str) -> Self {
        let stripped = |(name, tensor): (&String, &StoredTensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
        Self { tensors: self.tensors.iter().filter_map(stripped).collect(), ..self.clone_empty() }
    }

    /// All tensors, without `prefix` where a name starts with it.
    pub fn without_prefix(&self, prefix: &str) -> Self {
        let stripped =
            |(name, tensor): (&String, &StoredTensor)| (name.strip_prefix(prefix).unwrap_or(name).to_owned(), tensor.clone());
        Self { tensors: self.tensors.iter().map(stripped).collect(), ..self.clone_empty() }
    }

    /// Only the tensors for which `keep` holds.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = self.tensors.iter().filter(|(name, _)| keep(name));
        Self { tensors: kept.map(|(name, tensor)| (name.clone(), tensor.clone())).collect(), ..self.clone_empty() }
    }

    fn clone_empty(&self) -> Self {
        Self { path: self.path.clone(), model: self.model.clone(), tensors: BTreeMap::new() }
    }

    /// Name what this is to be loaded into, for error messages: "the SD3 transformer".
    pub fn named(self, model: impl Into<String>) -> Self {
        Self { model: model.into(), ..self }
    }

    /// Names as the module has them.
    ///
    /// # Errors
    /// [`CheckpointError::Rows`] when a fused tensor has other rows than the layout, [`CheckpointError::Twice`] when two
    /// names mean one weight.
    pub fn renamed(self, keys: &KeyMap) -> Result<Self, CheckpointError> {
        Ok(Self { tensors: keys.apply(self.tensors)?, path: self.path, model: self.model })
    }

    /// Whether [`load_into`](Self::load_into) can fill `module`: names, shapes and types, without reading a weight.
    ///
    /// # Errors
    /// As [`load_into`](Self::load_into).
    pub fn check<M: Module>(&self, module: &M) -> Result<(), CheckpointError> {
        load::fitted(self.clone(), module).map(drop)
    }

    /// Fill all parameters of `module`, on the device that they were made for.
    ///
    /// # Errors
    /// [`CheckpointError`] when a parameter is missing, a tensor unused, a shape or type different. The module is used
    /// up; nothing half-loaded remains.
    pub fn load_into<M: Module>(self, module: M, precision: Precision) -> Result<M, CheckpointError> {
        load::load_into(self, module, precision)
    }

    /// Fill the parameters of `module` but those whose names `skip` holds for, which stay empty.
    ///
    /// # Errors
    /// As [`load_into`](Self::load_into); the skipped parameters are checked too.
    pub(crate) fn load_into_except<M: Module>(
        self,
        module: M,
        precision: Precision,
        skip: impl Fn(&str) -> bool,
    ) -> Result<M, CheckpointError> {
        load::load_into_except(self, module, precision, skip)
    }

    /// Load some parameters of `module` once more, each merged with a change if there is one for it.
    ///
    /// # Errors
    /// [`CheckpointError`] if a tensor cannot be read.
    pub(crate) fn reload<M: Module>(
        &self,
        module: M,
        precision: Precision,
        parameters: BTreeMap<String, Option<Arc<dyn WeightChange>>>,
    ) -> Result<M, CheckpointError> {
        load::reload(self, module, precision, parameters)
    }
}
