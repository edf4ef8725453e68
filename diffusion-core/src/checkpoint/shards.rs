//! Checkpoints in several files, with an index that tells which tensor is in which.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;

use super::error::CheckpointError;
use super::stored_tensor::Tensors;
use crate::files::{OneLine, Shown};
use crate::model_path;

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Every tensor from the shard that the index names.
///
/// # Errors
/// [`CheckpointError`] when a shard is missing or cannot be read, when it lacks a tensor of the index, and when it holds one
/// that the index does not know. Copies of tensors that the index takes from another shard are left out with a warning.
pub(super) fn open(index: &Path, open: impl Fn(&Path) -> Result<Tensors, CheckpointError>) -> Result<Tensors, CheckpointError> {
    let text = model_path::read_text(index).map_err(|source| CheckpointError::Open { path: index.to_owned(), source })?;
    let ShardIndex { weight_map } = serde_json::from_str(&text).map_err(|source| CheckpointError::Json {
        path: index.to_owned(),
        expected: "a shard index, which has a weight_map; of a diffusers folder give the folder itself",
        source,
    })?;
    let path_of = |shard: &str| index.with_file_name(shard);
    let mut shards: BTreeMap<&str, Tensors> = weight_map.values().map(|shard| (shard.as_str(), Tensors::new())).collect();
    for &shard in shards.keys() {
        // A name that leads elsewhere would open files that have nothing to do with the model.
        let is_name = Path::new(shard).components().all(|part| matches!(part, Component::Normal(_)));
        if shard.is_empty() || !is_name || !model_path::exists(&path_of(shard)) {
            return Err(CheckpointError::MissingShard { index: index.to_owned(), shard: shard.to_owned() });
        }
    }
    for (shard, tensors) in &mut shards {
        *tensors = open(&path_of(shard))?;
    }
    let mut found = Tensors::new();
    for (tensor, shard) in &weight_map {
        let stored = shards.get_mut(shard.as_str()).and_then(|shard| shard.remove(tensor));
        let stored = stored.ok_or_else(|| CheckpointError::TensorNotInShard {
            index: index.to_owned(),
            shard: shard.clone(),
            tensor: tensor.clone(),
        })?;
        found.insert(tensor.clone(), stored);
    }
    let mut copies = Vec::new();
    for (shard, left) in shards {
        for tensor in left.into_keys() {
            if !weight_map.contains_key(&tensor) {
                return Err(CheckpointError::TensorNotInIndex { index: index.to_owned(), shard: shard.to_owned(), tensor });
            }
            copies.push(format!("{} in {}", Shown(&tensor), Shown(shard)));
        }
    }
    if let Some(first) = copies.first() {
        let (index, copies) = (OneLine(index.display()), copies.len());
        tracing::warn!(
            "{index} takes {copies} tensors from other shards than those with a copy, which is not used, such as {first}"
        );
    }
    Ok(found)
}
