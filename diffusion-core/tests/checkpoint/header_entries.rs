//! What a file says of itself besides its tensors, kept by what writes it anew.

use std::collections::BTreeMap;
use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{About, CheckpointWriter, Container, ConversionRules, Target, TensorSpec, convert};
use diffusion_core::format::Format;

use crate::files::{GgufFile, GgufTensor, f32_bytes, metadata, open, safetensors_about, text};

/// Entries that say what the numbers mean, with text of every kind.
const KEPT: [(&str, &str); 5] = [
    ("lora_adapter_metadata", "{\"transformer.lora_alpha\": 8}"),
    ("ss_network_alpha", "4.0"),
    ("ss_base_model_version", "flux1"),
    ("modelspec.architecture", "Flux.1-dev/lora"),
    ("author", "grüße"),
];
/// Entries that are true of the old file alone.
const OLD: [(&str, &str); 4] = [
    ("format", "np"),
    ("sshs_model_hash", "0ab1"),
    ("modelspec.hash_sha256", "0x00"),
    ("_quantization_metadata", "{\"layers\":{}}"),
];

fn entries(checkpoint: &Checkpoint) -> BTreeMap<&str, &str> {
    checkpoint.metadata_entries()
}

fn converted(source: &Checkpoint, path: &Path) -> (Checkpoint, Vec<String>) {
    let rules = ConversionRules { gguf_architecture: Some("flux"), ..ConversionRules::default() };
    let conversion = convert(source, path, Target::F16, rules, &mut |_| {}).unwrap();
    (Checkpoint::open(path).unwrap(), conversion.dropped_entries)
}

#[test]
fn a_conversion_keeps_what_says_what_the_numbers_mean() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = f32_bytes(&[1.0; 4]);
    let about: Vec<_> = KEPT.iter().chain(&OLD).copied().collect();
    let source = open(&safetensors_about(&[("a.lora_down.weight", "F32", &[2, 2], &numbers)], &about)).unwrap();

    let (plain, dropped) = converted(&source, &folder.path().join("new.safetensors"));
    assert!(dropped.is_empty());
    let mut expected: BTreeMap<_, _> = KEPT.into();
    expected.insert("format", "pt");
    assert_eq!(entries(&plain), expected);

    let (gguf, dropped) = converted(&source, &folder.path().join("new.gguf"));
    assert!(dropped.is_empty());
    expected.remove("format");
    expected.insert("general.architecture", "flux");
    assert_eq!(entries(&gguf), expected);

    // And back again.
    let (back, _) = converted(&gguf, &folder.path().join("back.safetensors"));
    assert_eq!(entries(&back), entries(&plain));
    let (again, _) = converted(&gguf, &folder.path().join("again.gguf"));
    assert_eq!(entries(&again), entries(&gguf));
}

#[test]
fn a_file_of_the_same_tensors_and_entries_has_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let specs = || ["b", "a"].map(|name| TensorSpec { name: name.to_owned(), shape: vec![1], format: Format::F32 }).to_vec();
    let entries: BTreeMap<String, String> = (0..20).map(|index| (format!("key {index}"), format!("\"{index}\""))).collect();
    let write = |name: &str| {
        let path = folder.path().join(name);
        let about = About { entries: entries.clone(), ..About::default() };
        let mut writer = CheckpointWriter::create_about(&path, Container::Safetensors, specs(), &about).unwrap();
        writer.append(&f32_bytes(&[1.0])).unwrap();
        writer.append(&f32_bytes(&[2.0])).unwrap();
        writer.finish().unwrap();
        path
    };
    let first = write("first.safetensors");
    for index in 0..8 {
        let again = write(&format!("{index}.safetensors"));
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(again).unwrap());
    }
    let read = Checkpoint::open(&first).unwrap();
    assert_eq!(read.get("a").unwrap().to_f32().unwrap(), [2.0]);
    assert_eq!(read.metadata("key 7"), Some("\"7\""));
}

#[test]
fn text_of_a_gguf_file_is_kept_and_how_its_numbers_were_stored_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = GgufFile::new(vec![GgufTensor::new("a", &[8], 0, 0)], 32);
    for entry in [
        metadata("general.architecture", 8, &text("t5encoder")),
        metadata("general.name", 8, &text("a name")),
        metadata("general.quantized_by", 8, &text("somebody")),
        metadata("general.file_type", 4, &7u32.to_le_bytes()),
    ] {
        file = file.with_metadata(entry);
    }
    let source = open(&file.bytes()).unwrap();
    assert_eq!(source.metadata("general.architecture"), Some("t5encoder"));
    let (plain, _) = converted(&source, &folder.path().join("a.safetensors"));
    assert_eq!(entries(&plain), [("format", "pt"), ("general.name", "a name")].into());
}

#[test]
fn keys_that_a_gguf_file_cannot_have_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = f32_bytes(&[1.0]);
    let about = [("clé", "value"), ("key", "value")];
    let source = open(&safetensors_about(&[("a", "F32", &[1], &numbers)], &about)).unwrap();
    let (gguf, dropped) = converted(&source, &folder.path().join("a.gguf"));
    assert_eq!((gguf.metadata("key"), gguf.metadata("clé")), (Some("value"), None));
    assert_eq!(dropped, ["clé"]);
}

#[test]
fn entries_of_all_shards_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = f32_bytes(&[1.0]);
    for (name, about) in [("a", ("first", "1")), ("b", ("second", "2"))] {
        let file = safetensors_about(&[(name, "F32", &[1], &numbers)], &[about]);
        std::fs::write(folder.path().join(format!("{name}.safetensors")), file).unwrap();
    }
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}"#).unwrap();
    let source = Checkpoint::open(&index).unwrap();
    assert_eq!(entries(&source), [("first", "1"), ("second", "2")].into());
}

#[test]
fn the_writer_writes_what_a_file_is_to_say() {
    let folder = tempfile::tempdir().unwrap();
    for container in [Container::Safetensors, Container::Gguf] {
        let path = folder.path().join("a").with_extension(container.extension());
        let spec = TensorSpec { name: "a".to_owned(), shape: vec![1], format: Format::F32 };
        let about = About { architecture: None, entries: [("key".to_owned(), "value".to_owned())].into() };
        let mut writer = CheckpointWriter::create_about(&path, container, vec![spec], &about).unwrap();
        writer.append(&[0; 4]).unwrap();
        writer.finish().unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().metadata("key"), Some("value"), "{container}");
    }
}
