//! Well-formed GGUF files.

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::format::Format;

use crate::files::{GgufFile, GgufTensor, data, metadata, open, text, values};

#[test]
fn a_file_of_pythons_gguf_is_read_with_all_its_tensors() {
    let checkpoint = Checkpoint::open(&data("tiny.gguf")).unwrap();
    let expected = Checkpoint::open(&data("tiny_values.safetensors")).unwrap();
    for (name, tensor) in expected.tensors() {
        let found = checkpoint.get(name).unwrap();
        assert_eq!(found.shape(), tensor.shape(), "{name}");
        assert_eq!(found.to_f32().unwrap(), tensor.to_f32().unwrap(), "{name}");
    }
    let formats = [
        ("vector.f32", Format::F32),
        ("matrix.f16", Format::F16),
        ("matrix.bf16", Format::BF16),
        ("matrix.q8_0", Format::Q8_0),
        ("matrix.q5_1", Format::Q5_1),
        ("matrix.q4_k", Format::Q4K),
        ("cube.q4_0", Format::Q4_0),
        ("kernel.q8_0", Format::Q8_0),
    ];
    for (name, format) in formats {
        assert_eq!(checkpoint.get(name).unwrap().format(), format);
    }
    let ids = checkpoint.get("position_ids").unwrap();
    assert!(!ids.format().is_float());
    assert_eq!((ids.shape(), ids.bytes().len()), (&[4][..], 32));
    assert_eq!(checkpoint.tensors().count(), formats.len() + 1);
}

#[test]
fn a_regrouped_tensor_has_its_original_shape() {
    let checkpoint = Checkpoint::open(&data("tiny.gguf")).unwrap();
    assert_eq!(checkpoint.shape("kernel.q8_0"), Some(&[8, 4, 3, 3][..]));
}

#[test]
fn the_content_tells_the_kind_of_file_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "model.bin", "model"] {
        let path = folder.path().join(name);
        std::fs::copy(data("tiny.gguf"), &path).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().shape("vector.f32"), Some(&[7][..]));
    }
}

#[test]
fn image_models_keep_their_names_and_prefix() {
    let name = "model.diffusion_model.img_in.weight";
    let file = GgufFile::new(vec![GgufTensor::new(name, &[8], 0, 0)], 32);
    let checkpoint = open(&file.with_metadata(metadata("general.architecture", 8, &text("flux"))).bytes()).unwrap();
    assert!(checkpoint.get(name).is_some());
    assert_eq!(checkpoint.metadata("general.architecture"), Some("flux"));
    assert!(checkpoint.under("model.diffusion_model.").get("img_in.weight").is_some());
}

#[test]
fn version_2_is_read_and_a_file_may_be_empty() {
    let mut file = GgufFile::new(vec![GgufTensor::new("a", &[8], 0, 0)], 32);
    file.version = 2;
    assert_eq!(open(&file.bytes()).unwrap().shape("a"), Some(&[8][..]));
    assert!(open(&GgufFile::new(Vec::new(), 0).header()).unwrap().is_empty());
}

#[test]
fn scalars_and_tensors_without_numbers_are_read() {
    let tensors = vec![GgufTensor::new("scalar", &[], 0, 0), GgufTensor::new("none", &[0, 4], 0, 0)];
    let checkpoint = open(&GgufFile::new(tensors, 4).bytes()).unwrap();
    assert_eq!(values(&checkpoint, "scalar"), [0.0]);
    assert!(values(&checkpoint, "none").is_empty());
    // The data of a file without any may start after its end.
    let only_empty = GgufFile::new(vec![GgufTensor::new("none", &[0], 0, 0)], 0);
    assert!(values(&open(&only_empty.header()).unwrap(), "none").is_empty());
}

#[test]
fn metadata_of_nested_arrays_is_passed_over() {
    let inner = [4u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), vec![0; 8]].concat();
    let outer = [9u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), inner.clone(), inner].concat();
    let file = GgufFile::new(vec![GgufTensor::new("a", &[8], 0, 0)], 32).with_metadata(metadata("nested", 9, &outer));
    assert!(open(&file.bytes()).unwrap().get("a").is_some());
}
