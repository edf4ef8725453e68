//! The files of a folder of weights: in one file or in shards, as they are or in half the precision.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::listing::{Listing, in_folder};
use super::reference::is_inner_path;

/// What diffusers and transformers call the file of a component.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// Variants, as the reader of folders knows them; what has none goes before.
const VARIANTS: [&str; 3] = ["fp16", "bf16", "fp32"];

/// Weights of a folder under one name.
struct Arrangement {
    /// The file, or the index of its shards.
    name: String,
    stem: &'static str,
    variant: Option<&'static str>,
}

/// What weights may be called, in the order in which the reader of folders tries them. Of shards of a variant there are two
/// namings, as diffusers changed.
fn arrangements() -> impl Iterator<Item = Arrangement> {
    [None].into_iter().chain(VARIANTS.map(Some)).flat_map(|variant| {
        STEMS.into_iter().flat_map(move |stem| {
            let names = match variant {
                None => vec![format!("{stem}.safetensors.index.json"), format!("{stem}.safetensors")],
                Some(variant) => vec![
                    format!("{stem}.safetensors.index.{variant}.json"),
                    format!("{stem}.{variant}.safetensors.index.json"),
                    format!("{stem}.{variant}.safetensors"),
                ],
            };
            names.into_iter().map(move |name| Arrangement { name, stem, variant })
        })
    })
}

/// The configuration of a component.
pub(super) const CONFIG: &str = "config.json";

/// The entries of an index of shards that matter here.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Whether a name is that of an index of shards.
pub(super) fn is_index(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "json") && name.contains(".index.")
}

/// Which file of a folder to begin with: its weights, or the index of their shards. Where there are several, those of least
/// bytes: all are the same weights, and the largest are in f32.
pub(super) fn weights(listing: &Listing, folder: &str) -> Option<String> {
    let size = |name: &str| listing.size(&in_folder(folder, name)).unwrap_or_default();
    let bytes = |weights: &Arrangement| -> u64 {
        if is_index(&weights.name) {
            listing.in_folder(folder).filter(|name| is_shard(name, weights)).map(size).sum()
        } else {
            size(&weights.name)
        }
    };
    let there = arrangements().filter(|weights| listing.has(&in_folder(folder, &weights.name)));
    // Downloads of one variant bring the indices of all.
    let whole = there.map(|weights| (bytes(&weights), weights)).filter(|(bytes, _)| *bytes > 0);
    // The first of equal ones.
    whole.min_by_key(|(bytes, _)| *bytes).map(|(_, weights)| in_folder(folder, &weights.name))
}

/// Whether a file is called like a shard of these weights: `STEM-00001-of-00003.safetensors`, with the variant somewhere.
fn is_shard(name: &str, weights: &Arrangement) -> bool {
    let variant = VARIANTS.into_iter().find(|variant| name.contains(&format!(".{variant}")));
    let is_part = name.starts_with(weights.stem) && name.contains("-of-") && name.ends_with(".safetensors");
    is_part && variant == weights.variant
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
        let index_alone = [shards[0], shards[3]];
        assert_eq!(weights(&listing(&index_alone), "e").as_deref(), Some("e/model.fp16.safetensors"));
        for index in ["e/model.safetensors.index.fp16.json", "e/model.fp16.safetensors.index.json"] {
            let halves =
                [(index, 1), ("e/model.fp16-00001-of-00002.safetensors", 70), ("e/model.fp16-00002-of-00002.safetensors", 70)];
            assert_eq!(weights(&listing(&[&shards[..3], &halves].concat()), "e").as_deref(), Some(index));
            assert!(is_index(index));
        }
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
