//! The tensors of a checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::key_map::KeyMap;
use super::open;
use super::stored_tensor::{StoredTensor, Tensors};

/// The tensors of a checkpoint by name. Cheap to clone: the files stay mapped, nothing is read until it is loaded.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// What the tensors are to be loaded into, for error messages.
    model: String,
    tensors: Tensors,
}

/// Tensors of which some values are looked at to tell files apart, and how many bytes of each: what a disk reads at once.
const LOOKED_AT: usize = 32;
const BYTES_LOOKED_AT: usize = 4096;

impl Checkpoint {
    /// Open a safetensors or GGUF file, a `.safetensors.index.json` with its shards, or a component folder with either.
    ///
    /// A GGUF file is known by its first bytes. Names stay as they are in the file. In a folder, files without a variant such as
    /// `fp16` go before those with one. An index is obeyed: every tensor comes from the shard that it names. The path may
    /// lead into a DDUF file, as in `model.dduf/vae`; see [`model_path`](crate::model_path).
    ///
    /// # Errors
    /// [`CheckpointError`] when a file is missing, no ordinary one, truncated or malformed, when index and shards do not fit, and
    /// when weights are quantised in a format that is not read, with its name.
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

    /// What the header says under `key` besides the tensors; of a GGUF file, entries that are text. Of shards, the first that
    /// says something counts, in order of their names.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.headers().find_map(|header| header.get(key)).map(String::as_str)
    }

    /// All that headers say besides the tensors, as [`metadata`](Self::metadata) has it.
    pub fn metadata_entries(&self) -> BTreeMap<&str, &str> {
        let mut entries = BTreeMap::new();
        for (key, value) in self.headers().flatten() {
            entries.entry(key.as_str()).or_insert(value.as_str());
        }
        entries
    }

    /// The headers of its files.
    fn headers(&self) -> impl Iterator<Item = &HashMap<String, String>> {
        let files: BTreeMap<&Path, &StoredTensor> = self.tensors.values().map(|tensor| (tensor.path(), tensor)).collect();
        files.into_values().filter_map(StoredTensor::file_metadata)
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

    /// Refuse files that were written to since they were opened.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        let mut checked = None;
        for tensor in self.tensors.values().filter(|tensor| tensor.num_bytes() > 0) {
            if checked != Some(tensor.path()) {
                tensor.check_unchanged()?;
                checked = Some(tensor.path());
            }
        }
        Ok(())
    }

    /// Feed `state` with what tells these tensors from all others: their names, formats and places, the path, size and times of
    /// each file, and some of the values. It reads little, however large the files are; files in memory count whole.
    ///
    /// # Errors
    /// [`CheckpointError::Changed`] if a file was written to since it was opened, [`CheckpointError::Open`] if it cannot be asked.
    pub fn identify(&self, mut state: &mut dyn Hasher) -> Result<(), CheckpointError> {
        let files: BTreeMap<&Path, &StoredTensor> = self.tensors.values().map(|tensor| (tensor.path(), tensor)).collect();
        (files.len(), self.tensors.len()).hash(&mut state);
        for tensor in files.into_values() {
            tensor.identify_file(state)?;
        }
        let every = self.tensors.len().div_ceil(LOOKED_AT).max(1);
        for (index, (name, tensor)) in self.tensors.iter().enumerate() {
            name.hash(&mut state);
            tensor.identify(if index.is_multiple_of(every) { BYTES_LOOKED_AT } else { 0 }, state);
        }
        Ok(())
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
        Self { path: self.path.clone(), model: self.model.clone(), tensors: Tensors::new() }
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

    /// What the tensors are to be loaded into, for error messages.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The tensors, to be shaped otherwise.
    pub(crate) fn tensors_mut(&mut self) -> &mut Tensors {
        &mut self.tensors
    }
}
