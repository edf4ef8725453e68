//! What integration tests share.

#![allow(dead_code, reason = "every test program uses a part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use serde::Deserialize;

/// A file under `tests/data`.
pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

/// A file under the workspace's `fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// A file under `diffusion-app/assets`.
pub(crate) fn asset(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../diffusion-app/assets").join(path)
}

/// Copy the files of a fixture's folder, without the single file that goes with it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else if entry.file_name() != "original.safetensors" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Names and shapes of a published checkpoint: one of the lists in `manifests.json.gz`.
pub(crate) fn manifest(name: &str) -> BTreeMap<String, Vec<usize>> {
    #[derive(Deserialize)]
    struct List {
        tensors: BTreeMap<String, (String, Vec<usize>)>,
    }
    let file = File::open(data("manifests.json.gz")).unwrap();
    let mut lists: BTreeMap<String, List> = serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    let list = lists.remove(name).unwrap_or_else(|| panic!("no list {name}"));
    list.tensors.into_iter().map(|(name, (_, shape))| (name, shape)).collect()
}

/// Write a bf16 checkpoint of these names and shapes, all zeros, as a hole that takes no space on the disk.
pub(crate) fn write_hollow(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// A tensor of a file, in f32.
pub(crate) fn tensor<const D: usize>(file: &Checkpoint, name: &str, device: &Device) -> Tensor<D> {
    let stored = file.get(name).unwrap_or_else(|| panic!("no {name} in {}", file.path().display()));
    let data = TensorData::new(stored.to_f32().unwrap(), stored.shape().to_vec());
    Tensor::from_data(data, (device, DType::F32))
}

/// Norm of the difference over the norm of what is expected.
pub(crate) fn relative_error<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let norm = |x: Tensor<D>| x.into_data().iter::<f64>().map(|x| x * x).sum::<f64>().sqrt();
    norm(found - expected.clone()) / norm(expected)
}

/// Fails if the relative error is above `tolerance` or not a number.
#[track_caller]
pub(crate) fn assert_close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>, tolerance: f64) {
    let error = relative_error(found, expected);
    println!("{what}: relative error {error:.1e}");
    assert!(error <= tolerance, "{what}: relative error {error:.2e}, allowed {tolerance:.0e}");
}
