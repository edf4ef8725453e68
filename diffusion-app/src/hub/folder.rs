//! The files of a folder of weights: in one file or in shards, as they are or in half the precision.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::listing::{Listing, in_folder};
use super::reference::is_inner_path;

/// Names of weights in a component's folder, in the order in which the reader of folders tries them; `.index.json` marks
/// those in shards.
const WEIGHT_NAMES: [&str; 6] = [
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
];

/// The configuration of a component.
pub(super) const CONFIG: &str = "config.json";

/// The entries of an index of shards that matter here.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Whether a name is that of an index of shards.
pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

/// Which file of a folder to begin with: its weights, or the index of their shards. Where there are several, those of least
/// bytes: all are the same weights, and the largest are in f32.
pub(super) fn weights(listing: &Listing, folder: &str) -> Option<String> {
    let bytes = |name: &str| {
        let size = |name: &str| listing.size(&in_folder(folder, name)).unwrap_or_default();
        match name.strip_suffix(".safetensors.index.json") {
            Some(stem) => listing.in_folder(folder).filter(|name| is_shard(name, stem)).map(size).sum(),
            None => size(name),
        }
    };
    let there = WEIGHT_NAMES.into_iter().filter(|name| listing.has(&in_folder(folder, name)));
    // The first of equal ones.
    there.map(|name| (bytes(name), name)).min_by_key(|(bytes, _)| *bytes).map(|(_, name)| in_folder(folder, name))
}

/// Whether a file is called like a shard: `STEM-00001-of-00003.safetensors`.
fn is_shard(name: &str, stem: &str) -> bool {
    let number = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".safetensors"));
    number.is_some_and(|number| number.bytes().all(|letter| letter.is_ascii_digit() || b"-of".contains(&letter)))
}

/// The shards that an index names, as paths in the repository.
///
/// # Errors
/// If it is no such index. Names that lead out of the folder are left out, and are found missing by whoever reads the folder.
pub(super) fn shards(index_path: &str, index: &[u8]) -> Result<BTreeSet<String>, serde_json::Error> {
    let ShardIndex { weight_map } = serde_json::from_slice(index)?;
    let folder = index_path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let inside = weight_map.into_values().filter(|shard| is_inner_path(shard));
    Ok(inside.map(|shard| in_folder(folder, &shard)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::listing::RepositoryFile;
    use super::*;

    fn listing(files: &[(&str, u64)]) -> Listing {
        let files = files.iter().map(|&(path, size)| RepositoryFile { path: path.to_owned(), size });
        Listing { commit: String::new(), files: files.collect() }
    }

    #[test]
    fn of_the_same_weights_the_smallest_are_taken() {
        let both = [("vae/diffusion_pytorch_model.safetensors", 200), ("vae/diffusion_pytorch_model.fp16.safetensors", 100)];
        assert_eq!(weights(&listing(&both), "vae").as_deref(), Some("vae/diffusion_pytorch_model.fp16.safetensors"));
        let alike = [("e/model.fp16.safetensors", 100), ("e/model.safetensors", 100), ("e/model.bin", 1)];
        assert_eq!(weights(&listing(&alike), "e").as_deref(), Some("e/model.safetensors"));
        let shards = [
            ("e/model.safetensors.index.json", 1),
            ("e/model-00001-of-00002.safetensors", 150),
            ("e/model-00002-of-00002.safetensors", 150),
            ("e/model.fp16.safetensors", 150),
        ];
        assert_eq!(weights(&listing(&shards), "e").as_deref(), Some("e/model.fp16.safetensors"));
        assert_eq!(weights(&listing(&shards[..3]), "e").as_deref(), Some("e/model.safetensors.index.json"));
        assert_eq!(weights(&listing(&[("model.safetensors", 1)]), "").as_deref(), Some("model.safetensors"));
        assert_eq!(weights(&listing(&[("e/flax_model.msgpack", 1), ("e/model.bin", 1)]), "e"), None);
    }

    #[test]
    fn shards_lie_beside_their_index_and_nowhere_else() {
        let index = br#"{"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#;
        let found: Vec<_> = shards("transformer/x.index.json", index).unwrap().into_iter().collect();
        assert_eq!(found, ["transformer/1.safetensors", "transformer/2.safetensors"]);
        assert!(shards("x", br#"{"weight_map": {"a": "../../1.safetensors"}}"#).unwrap().is_empty());
        assert!(shards("x", b"{}").is_err());
    }
}
