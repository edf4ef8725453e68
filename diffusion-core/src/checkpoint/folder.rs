//! The weights in the folder of a component.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::other_kinds::other_kind;
use super::stored_tensor::Tensors;
use crate::dduf;
use crate::files::open_regular_file;
use crate::model_path;

/// What diffusers and transformers call the file of a component.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// Variants, in the order in which they are taken where there is no file without one: what most repositories have comes first.
const VARIANTS: [&str; 3] = ["fp16", "bf16", "fp32"];
/// Endings of what `torch.save` writes.
const PYTORCH_ENDINGS: [&str; 4] = ["bin", "ckpt", "pt", "pth"];

/// Names of weights in the order in which they are tried; those that end in `.json` are indices of sharded ones.
///
/// A variant comes before the last part of a name. Shards and their index were named in two orders, as diffusers changed.
/// Reference: diffusers `pipeline_loading_utils.py`, `variant_compatible_siblings`, at 58eb52c.
fn weight_names() -> Vec<String> {
    let plain = STEMS.iter().flat_map(|stem| [format!("{stem}.safetensors.index.json"), format!("{stem}.safetensors")]);
    let with_variant = VARIANTS.iter().flat_map(|variant| {
        STEMS.iter().flat_map(move |stem| {
            [
                format!("{stem}.safetensors.index.{variant}.json"),
                format!("{stem}.{variant}.safetensors.index.json"),
                format!("{stem}.{variant}.safetensors"),
            ]
        })
    });
    plain.chain(with_variant).collect()
}

/// Open the weights in a folder, of the name that comes first.
pub(super) fn open(folder: &Path, open: impl Fn(&Path) -> Result<Tensors, CheckpointError>) -> Result<Tensors, CheckpointError> {
    let mut without_shards = None;
    for name in weight_names() {
        let path = folder.join(name);
        if !model_path::exists(&path) {
            continue;
        }
        match open(&path) {
            // Downloads of one variant bring the indices of all, which are JSON as the configurations are.
            Err(error @ CheckpointError::MissingShard { .. }) => without_shards = without_shards.or(Some(error)),
            other => return other,
        }
    }
    Err(without_shards.unwrap_or_else(|| no_weights(folder)))
}

/// What to say about a folder without weights that are read.
fn no_weights(folder: &Path) -> CheckpointError {
    if model_path::exists(&folder.join(dduf::INDEX)) {
        return CheckpointError::WholeModel { path: folder.to_owned() };
    }
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let ends =
        |file: &Path, endings: &[&str]| file.extension().is_some_and(|found| endings.iter().any(|ending| found == *ending));
    for file in files.iter().filter(|file| ends(file, &PYTORCH_ENDINGS)) {
        if let Some((found, advice)) = open_regular_file(file).ok().and_then(|file| other_kind(&first_bytes(file))) {
            return CheckpointError::OtherKind { path: file.clone(), found, advice };
        }
    }
    let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
    let shard = files.iter().filter(|file| ends(file, &["safetensors"])).filter_map(name).find(|name| name.contains("-of-"));
    let path = folder.to_owned();
    match shard {
        Some(shard) => CheckpointError::NoIndex { path, shard },
        None => CheckpointError::NoWeights { path, expected: weight_names()[..4].join(", ") },
    }
}

fn first_bytes(file: fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Without them, it is not known what it is.
    let _ = file.take(512).read_to_end(&mut bytes);
    bytes
}
