//! Checkpoints written in other formats.

use std::path::{Path, PathBuf};

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, ConversionRules, Target, TensorSpec, WriteError, convert};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use tempfile::TempDir;

use crate::files::{assert_names, data, f32_bytes, open, safetensors, values};

/// A matrix that every format takes, one whose rows are no blocks, a vector, a small matrix, a table and integers.
fn source() -> Checkpoint {
    let noise = |seed, len| f32_bytes(&TorchGenerator::new(seed).normal(len));
    open(&safetensors(&[
        ("double_blocks.0.img_attn.norm.key_norm.scale", "F32", &[8], &noise(1, 8)),
        ("large.weight", "F32", &[8, 256], &noise(2, 2048)),
        ("odd.weight", "F32", &[60, 33], &noise(3, 1980)),
        ("small.weight", "F32", &[2, 256], &noise(4, 512)),
        ("bias", "F32", &[2048], &noise(5, 2048)),
        ("shared.weight", "F32", &[8, 256], &noise(6, 2048)),
        ("position_ids", "I64", &[2], &[0; 16]),
        ("spiece_model", "U8", &[3], &[1, 2, 3]),
    ]))
    .unwrap()
}

fn converted(folder: &TempDir, name: &str, target: Target) -> Checkpoint {
    let path = folder.path().join(name);
    let rules = ConversionRules { tables: &["shared"], ..ConversionRules::default() };
    convert(&source(), &path, target, rules, &mut |_| {}).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn format_of(checkpoint: &Checkpoint, name: &str) -> Format {
    checkpoint.get(name).unwrap().format()
}

/// Names, shapes, and values up to `error` of the largest.
fn assert_close(found: &Checkpoint, error: f32) {
    for (name, tensor) in source().tensors().filter(|(_, tensor)| tensor.format().is_float()) {
        assert_eq!(found.shape(name), Some(tensor.shape()), "{name}");
        let expected = tensor.to_f32().unwrap();
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let worst = values(found, name).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst <= error * largest, "{name}: {worst}");
    }
}

#[test]
fn plain_types_are_for_every_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [(Target::F32, Format::F32, 0.0), (Target::F16, Format::F16, 5e-4), (Target::BF16, Format::BF16, 4e-3)];
    for (target, format, error) in cases {
        for name in ["plain.safetensors", "plain.gguf"] {
            let found = converted(&folder, name, target);
            assert!(found.tensors().all(|(_, tensor)| tensor.format() == format || !tensor.format().is_float()));
            assert_close(&found, error);
        }
    }
}

#[test]
fn blocks_are_for_large_matrices_of_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    // Half a step of the block's largest number; Q4's largest step is a whole one.
    for (target, format, error) in
        [(Target::Q8_0, Format::Q8_0, 5e-3), (Target::Q4_0, Format::Q4_0, 0.13), (Target::Q4K, Format::Q4K, 0.1)]
    {
        let found = converted(&folder, "blocks.gguf", target);
        assert_eq!(format_of(&found, "large.weight"), format);
        for kept in ["odd.weight", "small.weight", "bias"] {
            assert_eq!(format_of(&found, kept), Format::F32, "{kept}");
        }
        assert_close(&found, error);
        assert_eq!(found.get("position_ids").unwrap().bytes().len(), 16);
    }
}

#[test]
fn fp8_is_for_large_matrices() {
    let folder = tempfile::tempdir().unwrap();
    let found = converted(&folder, "plain.safetensors", Target::F8E4M3);
    for name in ["large.weight", "odd.weight", "shared.weight"] {
        assert_eq!(format_of(&found, name), Format::F8E4M3);
    }
    assert_eq!(format_of(&found, "bias"), Format::F32);
    assert_close(&found, 2f32.powi(-4));
}

#[test]
fn scaled_fp8_has_a_scale_for_every_matrix_and_keeps_tables() {
    let folder = tempfile::tempdir().unwrap();
    let found = converted(&folder, "scaled.safetensors", Target::F8E4M3Scaled);
    let weight = found.get("large.weight").unwrap();
    assert_eq!(weight.format(), Format::F8E4M3);
    let largest = values(&source(), "large.weight").iter().fold(0f32, |largest, x| largest.max(x.abs()));
    assert_eq!(weight.scale(), Some(largest / 448.0));
    assert_eq!(format_of(&found, "shared.weight"), Format::F32);
    assert_close(&found, 2f32.powi(-4));

    let bytes = std::fs::read(folder.path().join("scaled.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..1200]).into_owned();
    for expected in [r#""scaled_fp8":{"dtype":"F8_E4M3","shape":[2]"#, r#""large.scale_weight":{"dtype":"F32","shape":[]"#] {
        assert!(header.contains(expected), "{header}");
    }
    assert!(header.contains(r#""__metadata__":{"format":"pt"}"#), "{header}");
}

#[test]
fn the_largest_number_of_a_scaled_matrix_always_fits() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..50).map(|i| format!("{i}.weight")).collect();
    let numbers: Vec<Vec<u8>> = (0..50).map(|seed| f32_bytes(&TorchGenerator::new(seed).normal(2048))).collect();
    let tensors: Vec<_> = names.iter().zip(&numbers).map(|(name, bytes)| (&name[..], "F32", &[64, 32][..], &bytes[..])).collect();
    let source = open(&safetensors(&tensors)).unwrap();
    convert(&source, &folder.path().join("a.safetensors"), Target::F8E4M3Scaled, ConversionRules::default(), &mut |_| {})
        .unwrap();
}

#[test]
fn every_part_of_an_all_in_one_file_has_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.safetensors");
    let numbers = f32_bytes(&[0.5; 2048]);
    let names = ["model.diffusion_model.a.weight", "text_encoders.t5xxl.transformer.b.weight", "first_stage_model.c.bias"];
    let file =
        safetensors(&names.map(|name| (name, "F32", if name.ends_with('s') { &[2048][..] } else { &[64, 32] }, &numbers[..])));
    let component_prefixes = &["model.diffusion_model.", "text_encoders.t5xxl.transformer."];
    let rules = ConversionRules { component_prefixes, ..ConversionRules::default() };
    convert(&open(&file).unwrap(), &path, Target::F8E4M3Scaled, rules, &mut |_| {}).unwrap();
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()[..1000]).into_owned();
    for mark in ["\"model.diffusion_model.scaled_fp8\"", "\"text_encoders.t5xxl.transformer.scaled_fp8\""] {
        assert!(text.contains(mark), "{text}");
    }
    assert_eq!(Checkpoint::open(&path).unwrap().tensors().count(), 3);
}

#[test]
fn a_scaled_or_packed_file_can_be_converted_again() {
    let folder = tempfile::tempdir().unwrap();
    for (name, target) in [("scaled.safetensors", Target::F8E4M3Scaled), ("blocks.gguf", Target::Q8_0)] {
        let narrow = converted(&folder, name, target);
        let path = folder.path().join("again.safetensors");
        convert(&narrow, &path, Target::F32, ConversionRules::default(), &mut |_| {}).unwrap();
        let again = Checkpoint::open(&path).unwrap();
        for (name, tensor) in again.tensors().filter(|(_, tensor)| tensor.format().is_float()) {
            assert_eq!(tensor.to_f32().unwrap(), values(&narrow, name), "{name}");
        }
    }
}

#[test]
fn gguf_files_say_which_model_they_are_and_leave_out_what_is_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.gguf");
    let mut last = 0;
    let rules = ConversionRules { gguf_architecture: Some("flux"), ..ConversionRules::default() };
    let conversion = convert(&source(), &path, Target::Q8_0, rules, &mut |progress| {
        assert!(progress.done >= last && progress.done <= progress.total);
        last = progress.done;
    })
    .unwrap();
    assert_eq!(conversion.dropped, ["spiece_model"]);
    assert_eq!(conversion.num_tensors, 7);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.windows(16).any(|window| window == b"\x08\0\0\0\x04\0\0\0\0\0\0\0flux"));
    assert!(bytes.len() >= conversion.num_bytes);
}

#[test]
fn a_kind_of_file_that_cannot_hold_the_target_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, target, named) in [
        ("a.gguf", Target::F8E4M3, ["F8E4M3", "safetensors"]),
        ("a.gguf", Target::F8E4M3Scaled, ["scaled F8E4M3", "safetensors"]),
        ("a.safetensors", Target::Q4K, ["Q4_K", "gguf"]),
    ] {
        let error = convert(&source(), &folder.path().join(name), target, ConversionRules::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, WriteError::Target { .. }));
        assert_names(&error, name, &named);
    }
    let error =
        convert(&source(), &folder.path().join("a.bin"), Target::F16, ConversionRules::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, WriteError::UnknownContainer { .. }));
    assert_names(&error, "a.bin", &[".safetensors", ".gguf"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn numbers_that_do_not_fit_are_an_error_and_leave_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    std::fs::write(&path, "the old one").unwrap();
    let cases = [
        (1e6, Target::F16, "F16"),
        (500.0, Target::F8E4M3, "F8E4M3"),
        (f32::NAN, Target::F8E4M3, "NaN"),
        (f32::INFINITY, Target::F8E4M3Scaled, "inf"),
    ];
    for (value, target, named) in cases {
        let mut numbers = vec![0.25; 2048];
        numbers[77] = value;
        let file = safetensors(&[("a.bias", "F32", &[1], &[0; 4]), ("b.weight", "F32", &[8, 256], &f32_bytes(&numbers))]);
        let error = convert(&open(&file).unwrap(), &path, target, ConversionRules::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, WriteError::Range { .. }));
        assert_names(&error, "broken.file", &["b.weight", named]);
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"the old one");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let path = Path::new("/no such folder/a.gguf");
    let error = convert(&source(), path, Target::Q8_0, ConversionRules::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, WriteError::Write { .. }));
    assert_names(&error, "/no such folder/a.gguf", &["folder exists"]);
    assert!(std::error::Error::source(&error).is_some());
}

fn spec(name: &str, shape: &[usize], format: Format) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), format }
}

#[test]
fn the_writer_takes_exactly_what_was_announced() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("a.gguf");
    let create = |specs| CheckpointWriter::create(&path, Container::Gguf, specs, None);
    let two = || vec![spec("a", &[2, 32], Format::Q8_0), spec("b", &[3], Format::F32)];

    let mut writer = create(two()).unwrap();
    let error = writer.append(&[0; 67]).unwrap_err();
    assert!(matches!(error, WriteError::Length { expected: 68, found: 67, .. }));
    assert_names(&error, "a.gguf", &["tensor a"]);
    writer.append(&[0; 68]).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, WriteError::Count { expected: 2, found: 1, .. }));

    let mut writer = create(two()).unwrap();
    writer.append(&[0; 68]).unwrap();
    writer.append(&[0; 12]).unwrap();
    assert!(matches!(writer.append(&[0; 4]).unwrap_err(), WriteError::Count { .. }));
    drop(writer);

    let error = create(vec![two().remove(0); 2]).unwrap_err();
    assert!(matches!(error, WriteError::Duplicate { .. }));
    for refused in [spec("x", &[1; 5], Format::F32), spec("x", &[2, 33], Format::Q8_0), spec("x", &[2], Format::F8E4M3)] {
        let error = create(vec![refused]).unwrap_err();
        assert!(matches!(error, WriteError::Tensor { .. }));
        assert_names(&error, "a.gguf", &["tensor x"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn names_of_any_text_survive_in_both_kinds_of_files() {
    let folder = tempfile::tempdir().unwrap();
    for container in [Container::Safetensors, Container::Gguf] {
        let path = folder.path().join("a").with_extension(container.extension());
        let names = ["with \"quotes\"", "grüße", "back\\slash"];
        let specs = names.iter().map(|name| spec(name, &[2], Format::F16)).collect();
        let mut writer = CheckpointWriter::create(&path, container, specs, None).unwrap();
        for _ in names {
            writer.append(&[0; 4]).unwrap();
        }
        writer.finish().unwrap();
        let found = Checkpoint::open(&path).unwrap();
        assert!(names.iter().all(|name| found.get(name).is_some()), "{container}");
    }
}

#[test]
fn a_gguf_file_comes_out_of_a_conversion_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let tiny = Checkpoint::open(&data("tiny.gguf")).unwrap();
    convert(&tiny, &path, Target::F32, ConversionRules::default(), &mut |_| {}).unwrap();
    let found = Checkpoint::open(&path).unwrap();
    for (name, tensor) in tiny.tensors().filter(|(_, tensor)| tensor.format().is_float()) {
        assert_eq!(found.shape(name), Some(tensor.shape()));
        assert_eq!(values(&found, name), tensor.to_f32().unwrap(), "{name}");
    }
}
