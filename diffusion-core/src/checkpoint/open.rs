//! Opening files: safetensors or GGUF, single, sharded, or a component folder as diffusers and transformers write them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::error::CheckpointError;
use super::gguf;
use super::mapped_file::MappedFile;
use super::stored_tensor::{StoredTensor, Tensors};
use crate::dduf;
use crate::format::Format;
use crate::model_path;

/// Names of weights in a component folder, in the order in which they are tried; `.index.json` marks sharded ones.
const WEIGHT_NAMES: [&str; 6] = [
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
];

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn open(path: &Path) -> Result<Tensors, CheckpointError> {
    // What is wrong with a DDUF file is told before anything is looked for in it.
    model_path::enter(path).map_err(CheckpointError::Dduf)?;
    let tensors = if model_path::is_folder(path) {
        let weights = WEIGHT_NAMES.iter().map(|name| path.join(name)).find(|file| model_path::exists(file));
        return open(&weights.ok_or_else(|| no_weights(path))?);
    } else if path.extension().is_some_and(|extension| extension == "json") {
        open_shards(path)?
    } else {
        open_file(path)?
    };
    attach_scales(tensors)
}

/// What is said of a folder without weights of its own.
fn no_weights(path: &Path) -> CheckpointError {
    let path = path.to_owned();
    if model_path::exists(&path.join(dduf::INDEX)) {
        CheckpointError::WholeModel { path }
    } else {
        CheckpointError::NoWeights { path, expected: WEIGHT_NAMES[..4].join(", ") }
    }
}

/// The tensors of a file that is in memory already.
pub(super) fn open_bytes(path: &Path, bytes: bytes::Bytes) -> Result<Tensors, CheckpointError> {
    attach_scales(read(&MappedFile::in_memory(path, bytes))?)
}

fn open_file(path: &Path) -> Result<Tensors, CheckpointError> {
    read(&MappedFile::open(path)?)
}

/// What a file is, its first bytes tell, not its name.
fn read(file: &Arc<MappedFile>) -> Result<Tensors, CheckpointError> {
    if file.bytes.starts_with(gguf::MAGIC) {
        let failed = |problem| CheckpointError::Gguf { path: file.path.clone(), problem: Box::new(problem) };
        return gguf::read(file).map_err(failed);
    }
    // The first bytes of a safetensors file may be anything, so guesses come last.
    read_safetensors(file).map_err(|error| match guess(&file.bytes) {
        Some((found, advice)) => CheckpointError::OtherKind { path: file.path.clone(), found, advice },
        None => error,
    })
}

/// What a file that cannot be read may be, and what to do then.
fn guess(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let starts = |magics: &[&[u8]]| magics.iter().any(|magic| bytes.starts_with(magic));
    if starts(&[b"PK\x03\x04", b"\x80\x02"]) {
        Some(("a PyTorch checkpoint", "convert it to safetensors, or download the safetensors file of the same model"))
    } else if starts(&[b"version https://git-lfs"]) {
        Some(("a Git LFS pointer", "run `git lfs pull`, or download the file itself"))
    } else if starts(&[b"<!", b"<html", b"<?xml"]) {
        Some(("a web page", "the download needs another address, or a licence to be accepted first"))
    } else {
        None
    }
}

fn read_safetensors(file: &Arc<MappedFile>) -> Result<Tensors, CheckpointError> {
    let size = file.bytes.len();
    let broken = |reason: String| CheckpointError::Header { path: file.path.clone(), size: size as u64, reason };
    let (data_start, metadata) = read_header(&file.bytes).map_err(broken)?;
    file.metadata.get_or_init(|| metadata.metadata().clone().unwrap_or_default());
    let mut tensors = Tensors::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        let tensor = StoredTensor::new(file.clone(), name.clone(), Format::from(info.dtype), info.shape.clone(), range);
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Where the data of a safetensors file starts, and what its header says: tensors that follow one another, as long as their
/// shapes and types call for, and that take up the rest of the file.
///
/// Not `SafeTensors::read_metadata`, which adds up lengths that can exceed the largest number (safetensors 0.8.0).
fn read_header(file: &[u8]) -> Result<(usize, Metadata), String> {
    /// Bytes of the number that tells the length of the header.
    const LENGTH_SIZE: usize = 8;
    let (length, rest) = file.split_first_chunk::<LENGTH_SIZE>().ok_or("it is too short for a header")?;
    let length = u64::from_le_bytes(*length);
    let parts = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (header, data) = parts.ok_or_else(|| format!("its header is said to be {length} bytes long"))?;
    let metadata: Metadata = serde_json::from_slice(header).map_err(|error| format!("its header is malformed: {error}"))?;
    if metadata.data_len() == data.len() {
        Ok((LENGTH_SIZE + header.len(), metadata))
    } else {
        Err(format!("its tensors take {} bytes, and {} are there", metadata.data_len(), data.len()))
    }
}

fn open_shards(index: &Path) -> Result<Tensors, CheckpointError> {
    let text = model_path::read_text(index).map_err(|source| CheckpointError::Open { path: index.to_owned(), source })?;
    let ShardIndex { weight_map } = serde_json::from_str(&text).map_err(|source| CheckpointError::Json {
        path: index.to_owned(),
        expected: "a shard index with a weight_map",
        source,
    })?;
    let folder = index.parent().map(Path::to_owned).unwrap_or_default();
    let mut shards: BTreeMap<&str, Tensors> = BTreeMap::new();
    let mut tensors = Tensors::new();
    for (tensor, shard) in &weight_map {
        if !shards.contains_key(shard.as_str()) {
            let file: PathBuf = folder.join(shard);
            if !model_path::exists(&file) {
                return Err(CheckpointError::MissingShard { index: index.to_owned(), shard: shard.clone() });
            }
            shards.insert(shard, open_file(&file)?);
        }
        let stored = shards.get_mut(shard.as_str()).and_then(|shard| shard.remove(tensor));
        let stored = stored.ok_or_else(|| CheckpointError::TensorNotInShard {
            index: index.to_owned(),
            shard: shard.clone(),
            tensor: tensor.clone(),
        })?;
        tensors.insert(tensor.clone(), stored);
    }
    for leftover in shards.into_values() {
        tensors.extend(leftover);
    }
    Ok(tensors)
}

/// Give scaled fp8 weights their scales, and take the scales and markers out of the list.
///
/// Such files carry `X.scale_weight` (or `X.weight_scale`) beside `X.weight`, `X.scale_input` for the inputs of fp8
/// products, which are not used when weights are widened, and a marker `scaled_fp8`: at the top, or at the top of the part
/// of an all-in-one file that it is about.
fn attach_scales(mut tensors: Tensors) -> Result<Tensors, CheckpointError> {
    let marked_parts: Vec<String> = tensors.keys().filter_map(|name| marked_part(name)).map(str::to_owned).collect();
    let scales: Vec<(String, String)> = tensors
        .keys()
        .filter_map(|name| {
            let layer = name.strip_suffix(".scale_weight").or_else(|| name.strip_suffix(".weight_scale"))?;
            Some((name.clone(), format!("{layer}.weight")))
        })
        .filter(|(_, weight)| tensors.get(weight).is_some_and(|weight| weight.format().is_fp8()))
        .collect();
    for (scale_name, weight_name) in &scales {
        let (Some(scale), Some(weight)) = (tensors.remove(scale_name), tensors.remove(weight_name)) else { continue };
        let values = scale.to_f32()?;
        let [value] = values[..] else {
            return Err(CheckpointError::DType {
                path: scale.path().to_owned(),
                tensor: scale_name.clone(),
                expected: "one scale for the whole tensor",
                found: format!("{} of shape {:?}", scale.format(), scale.shape()),
            });
        };
        tensors.insert(weight_name.clone(), weight.with_scale(value));
    }
    let unscaled = |(name, tensor): &(&String, &StoredTensor)| {
        let is_weight = tensor.format().is_fp8() && tensor.scale().is_none() && name.ends_with(".weight");
        is_weight && marked_parts.iter().any(|part| name.starts_with(part))
    };
    if let Some((name, tensor)) = tensors.iter().find(unscaled) {
        let tensor_scale = format!("{}.scale_weight", name.trim_end_matches(".weight"));
        return Err(CheckpointError::MissingScale { path: tensor.path().to_owned(), tensor: name.clone(), tensor_scale });
    }
    let is_input_scale = |name: &str| name.ends_with(".scale_input") || name.ends_with(".input_scale");
    tensors.retain(|name, _| marked_part(name).is_none() && !is_input_scale(name));
    Ok(tensors)
}

/// The part of the file that a marker is about: a prefix of names.
fn marked_part(name: &str) -> Option<&str> {
    name.strip_suffix("scaled_fp8").filter(|part| part.is_empty() || part.ends_with('.'))
}
