//! Opening files: safetensors or GGUF, single, sharded, or a component folder as diffusers and transformers write them.

use std::path::Path;
use std::sync::Arc;

use super::error::CheckpointError;
use super::mapped_file::MappedFile;
use super::other_kinds::other_kind;
use super::stored_tensor::Tensors;
use super::{folder, gguf, quantised, safetensors_file, scaled_fp8, shards};
use crate::model_path;

pub(super) fn open(path: &Path) -> Result<Tensors, CheckpointError> {
    // What is wrong with a DDUF file is told before anything is looked for in it.
    model_path::enter(path).map_err(CheckpointError::Dduf)?;
    let tensors = if model_path::is_folder(path) {
        quantised::refuse_folder(path)?;
        folder::open(path, open_weights)?
    } else {
        open_weights(path)?
    };
    prepared(tensors)
}

/// The tensors of a file that is in memory already.
pub(super) fn open_bytes(path: &Path, bytes: bytes::Bytes) -> Result<Tensors, CheckpointError> {
    prepared(read(&MappedFile::in_memory(path, bytes))?)
}

/// A single file, or an index with its shards.
fn open_weights(path: &Path) -> Result<Tensors, CheckpointError> {
    if path.extension().is_some_and(|extension| extension == "json") {
        shards::open(path, |shard| read(&MappedFile::open(shard)?))
    } else {
        read(&MappedFile::open(path)?)
    }
}

/// What a file is, its first bytes tell, not its name.
fn read(file: &Arc<MappedFile>) -> Result<Tensors, CheckpointError> {
    if file.bytes.starts_with(gguf::MAGIC) {
        let failed = |problem| CheckpointError::Gguf { path: file.path.clone(), problem: Box::new(problem) };
        return gguf::read(file).map_err(failed);
    }
    // The first bytes of a safetensors file may be anything, so guesses come last.
    safetensors_file::read(file).map_err(|error| match other_kind(&file.bytes) {
        Some((found, advice)) => CheckpointError::OtherKind { path: file.path.clone(), found, advice },
        None => error,
    })
}

/// Weights as numbers: what is quantised in a format that is not read is refused, scales go to their weights.
fn prepared(tensors: Tensors) -> Result<Tensors, CheckpointError> {
    quantised::refuse_tensors(&tensors)?;
    scaled_fp8::attach_scales(tensors)
}
