//! Opening safetensors files: single, sharded, or a component folder as diffusers and transformers write them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::error::CheckpointError;
use super::format::Format;
use super::stored_tensor::{MappedFile, StoredTensor};

pub(super) type Tensors = BTreeMap<String, StoredTensor>;

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
    let tensors = if path.is_dir() {
        let weights = WEIGHT_NAMES.iter().map(|name| path.join(name)).find(|file| file.exists());
        let weights = weights
            .ok_or_else(|| CheckpointError::NoWeights { path: path.to_owned(), expected: WEIGHT_NAMES[..4].join(", ") })?;
        return open(&weights);
    } else if path.extension().is_some_and(|extension| extension == "json") {
        open_shards(path)?
    } else {
        open_file(path)?
    };
    attach_scales(tensors)
}

fn open_file(path: &Path) -> Result<Tensors, CheckpointError> {
    let file = MappedFile::open(path)?;
    let size = file.bytes.len();
    let broken = |reason: String| CheckpointError::Header { path: path.to_owned(), size: size as u64, reason };
    let (data_start, metadata) = read_header(&file.bytes).map_err(broken)?;
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
    let text = std::fs::read_to_string(index).map_err(|source| CheckpointError::Open { path: index.to_owned(), source })?;
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
            if !file.exists() {
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
/// products, which are not used when weights are widened, and a marker `scaled_fp8`.
fn attach_scales(mut tensors: Tensors) -> Result<Tensors, CheckpointError> {
    let is_marker = |name: &str| name == "scaled_fp8" || name.ends_with(".scaled_fp8");
    let marked = tensors.keys().any(|name| is_marker(name));
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
    if marked {
        let unscaled = |(name, tensor): &(&String, &StoredTensor)| {
            tensor.format().is_fp8() && name.ends_with(".weight") && !scales.iter().any(|(_, weight)| weight == *name)
        };
        if let Some((name, tensor)) = tensors.iter().find(unscaled) {
            let tensor_scale = name.replace(".weight", ".scale_weight");
            return Err(CheckpointError::MissingScale { path: tensor.path().to_owned(), tensor: name.clone(), tensor_scale });
        }
    }
    tensors.retain(|name, _| !is_marker(name) && !(name.ends_with(".scale_input") || name.ends_with(".input_scale")));
    Ok(tensors)
}
