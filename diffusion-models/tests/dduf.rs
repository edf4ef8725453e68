//! DDUF files: diffusers folders in one file. They open like the folder and draw the same picture, and broken ones are refused
//! by what is wrong with them.

mod common;
#[path = "common/dduf.rs"]
mod dduf;
#[path = "common/fixture.rs"]
mod fixture;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dduf::{Entry, archive, entries_of};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::noise::TorchGenerator;
use diffusion_core::{Precision, Residency, model_path};
use diffusion_models::components::{CLIP_L, VAE};
use diffusion_models::{ComponentPaths, ModelFolder, Pipeline, PipelineOptions, Request, ignore, open_model};
use fixture::Fixture;
use tempfile::TempDir;

/// An error and its causes, as programs print them.
fn text(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", text(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// A file `model.dduf` in a folder of its own.
fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dduf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The fixture packed, all data at places that leave `remainder` when divided by eight.
fn packed(fixture: &str, remainder: usize, wide: bool) -> (TempDir, PathBuf) {
    let mut entries = entries_of(&common::fixture(fixture));
    for entry in &mut entries {
        entry.remainder = remainder;
    }
    file_of(&archive(&entries, wide))
}

/// The pixels that a model draws.
fn picture(path: &Path, fixture: &Fixture, precision: Precision, residency: Residency) -> Vec<Vec<u8>> {
    let options = PipelineOptions { precision, residency, ..PipelineOptions::new(&Device::flex()) };
    let mut pipeline = Pipeline::open(path, &options).unwrap();
    let request = Request { seeds: vec![7], settings: fixture.settings(), ..Request::new("a lighthouse in the fog") };
    let images = pipeline.generate(&request, &mut ignore).unwrap();
    images.into_iter().map(|image| image.pixels).collect()
}

#[test]
fn a_dduf_file_draws_the_picture_of_its_folder() {
    for name in ["sd3", "sd3-large", "flux-dev"] {
        let fixture = Fixture::new(name);
        for residency in [Residency::Resident, Residency::Streamed] {
            let expected = picture(&fixture.path(""), &fixture, Precision::f32(), residency);
            for (remainder, wide) in [(0, false), (3, false), (0, true)] {
                let (_folder, path) = packed(name, remainder, wide);
                let found = picture(&path, &fixture, Precision::f32(), residency);
                assert!(found == expected, "{name}, {residency:?}, data at {remainder}, wide: {wide}");
            }
        }
    }
}

#[test]
fn a_path_leads_into_a_dduf_file_as_into_a_folder() {
    let (_folder, path) = packed("sd3", 0, false);
    let folder = common::fixture("sd3");
    for component in ["transformer", "text_encoder", "vae", "vae/diffusion_pytorch_model.safetensors"] {
        let found = Checkpoint::open(&path.join(component)).unwrap();
        let expected = Checkpoint::open(&folder.join(component)).unwrap();
        assert_eq!(found.path(), path.join(component));
        let names = |checkpoint: &Checkpoint| checkpoint.tensors().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected));
        for (name, tensor) in expected.tensors() {
            assert_eq!(found.get(name).unwrap().bytes(), tensor.bytes(), "{component}: {name}");
        }
    }
    for inside in ["", "vae", "vae/config.json", "model_index.json"] {
        assert!(model_path::exists(&path.join(inside)), "{inside}");
        assert_eq!(model_path::is_folder(&path.join(inside)), !inside.ends_with("json"), "{inside}");
    }
    for nowhere in ["va", "vae/", "vae/config", "vae/../vae/config.json", "unet", "vae/config.json/x"] {
        let is_there = nowhere == "vae/";
        assert_eq!(model_path::exists(&path.join(nowhere)), is_there, "{nowhere}");
    }
    let missing = text(&Checkpoint::open(&path.join("unet")).unwrap_err());
    assert!(missing.contains("cannot open") && missing.contains("model.dduf"), "{missing}");
}

#[test]
fn components_and_configurations_are_taken_from_a_dduf_file() {
    let (_folder, path) = packed("sd3", 0, false);
    let paths = ComponentPaths::new().with_config(&path).with(CLIP_L, path.join("text_encoder")).with(VAE, path.join("vae"));
    open_model(&common::fixture("sd3/original.safetensors"), &paths).unwrap();
    open_model(&common::fixture("sd3"), &ComponentPaths::new().with(VAE, path.join("vae"))).unwrap();
}

#[test]
fn the_components_of_a_folder_and_of_a_dduf_file_are_listed() {
    let (_folder, path) = packed("flux-dev", 0, false);
    for path in [path, common::fixture("flux-dev")] {
        let folder = ModelFolder::open(&path).unwrap().unwrap();
        assert_eq!(folder.pipeline_class, "FluxPipeline");
        let names: Vec<_> = folder.components.iter().map(|part| (part.name.as_str(), part.weights.is_some())).collect();
        let expected = [
            ("scheduler", false),
            ("text_encoder", true),
            ("text_encoder_2", true),
            ("tokenizer", false),
            ("tokenizer_2", false),
            ("transformer", true),
            ("vae", true),
        ];
        assert_eq!(names, expected);
        assert!(matches!(Checkpoint::open(&path), Err(CheckpointError::WholeModel { .. })));
    }
    assert!(ModelFolder::open(&common::fixture("flux-dev/vae")).unwrap().is_none());
}

#[test]
fn errors_about_what_is_inside_name_the_file_and_the_entry() {
    let entries = entries_of(&common::fixture("sd3"));
    let without = |name: &str| entries.iter().filter(|entry| entry.name != name.as_bytes()).cloned().collect::<Vec<_>>();
    let replaced = |name: &str, data: &str| [without(name), vec![Entry::new(name, data)]].concat();
    for (entries, words) in [
        (without("text_encoder/config.json"), ["model.dduf/text_encoder/config.json", "cannot read"]),
        (without("tokenizer/vocab.json"), ["model.dduf/tokenizer/vocab.json", "no such file"]),
        (replaced("vae/config.json", "{}"), ["model.dduf/vae/config.json", "expected false"]),
        (without("transformer/diffusion_pytorch_model.safetensors"), ["model.dduf/transformer", "no weights"]),
        (replaced("vae/diffusion_pytorch_model.safetensors", "x"), ["model.dduf/vae/diffusion_pytorch_model", "truncated"]),
    ] {
        refuse(&archive(&entries, false), &words);
    }
}

#[test]
fn a_file_that_is_written_to_while_it_is_open_is_noticed() {
    let (_folder, path) = packed("sd3", 0, false);
    let checkpoint = Checkpoint::open(&path.join("transformer")).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(checkpoint.check_unchanged(), Err(CheckpointError::Changed { .. })));
}

/// Fails unless a model of these bytes is refused in words that contain all of `words`.
#[track_caller]
fn refuse(bytes: &[u8], words: &[&str]) {
    let (_folder, path) = file_of(bytes);
    let Err(error) = open_model(&path, &ComponentPaths::new()) else { panic!("it is accepted; expected {words:?}") };
    let said = text(&error);
    for word in words.iter().chain(&["model.dduf"]) {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// A small file that keeps every rule, with one entry changed.
fn changed(change: impl FnOnce(&mut Vec<Entry>)) -> Vec<u8> {
    let index = r#"{"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]}"#;
    let mut entries =
        vec![Entry::new("model_index.json", index), Entry::new("vae/config.json", "{}"), Entry::new("vae/x.txt", "text")];
    change(&mut entries);
    archive(&entries, false)
}

#[test]
fn what_breaks_a_rule_of_the_format_is_refused_by_its_name() {
    let renamed = |name: &[u8]| changed(|entries| entries[2].name = name.to_owned());
    let mut one_bit_flipped = changed(|_| ());
    let class = one_bit_flipped.windows(4).position(|window| window == b"Flux").unwrap();
    one_bit_flipped[class] ^= 1;
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (changed(|entries| entries[1].method = 8), &["vae/config.json is compressed (DEFLATE)", "pack the folder again"]),
        (changed(|entries| entries[1].method = 99), &["vae/config.json is compressed"]),
        (changed(|entries| entries[1].flags = 1), &["vae/config.json is encrypted", "without a password"]),
        (changed(|entries| entries[1].unpacked = Some(1 << 30)), &["vae/config.json is said to be 2 bytes long"]),
        (changed(|entries| entries[1].offset = Some(1 << 30)), &["vae/config.json is not where"]),
        (changed(|entries| entries[2].offset = Some(0)), &["vae/x.txt is not where"]),
        (changed(|entries| entries[0].data = vec![0xff]), &["model_index.json is no text"]),
        (one_bit_flipped, &["model_index.json is no text, or damaged"]),
        (renamed(b"vae/config.json"), &["two entries of the name vae/config.json"]),
        (renamed(b"../x.txt"), &["\"../x.txt\" leads out"]),
        (renamed(b"/x.txt"), &["\"/x.txt\" leads out"]),
        (renamed(b"vae\\x.txt"), &["characters"]),
        (renamed(b"vae/\x1b[2J.txt"), &["vae/\\u{1b}[2J.txt"]),
        (renamed(b"vae/\xff.txt"), &["UTF-8"]),
        (renamed(b"vae/a/x.txt"), &["\"vae/a/x.txt\" lies deeper"]),
        (renamed(b"vae/model.bin"), &["\"vae/model.bin\" is of a kind", ".safetensors"]),
        (renamed(b"vae/"), &["contents of its own"]),
        (renamed(b"unet/x.txt"), &["folder unet is not named in its model_index.json"]),
        (changed(|entries| drop(entries.remove(0))), &["has no model_index.json"]),
        (changed(|entries| entries[0].data = b"[]".to_vec()), &["model_index.json is not the list"]),
        (changed(|entries| entries[0].data = b"{".to_vec()), &["model_index.json is not the list"]),
        (
            changed(|entries| *entries = (0..1001).map(|i| Entry::new(&format!("{i}.txt"), "")).collect()),
            &["more than 1000 entries"],
        ),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), &["Git LFS pointer", "(42 bytes)"]),
        (Vec::new(), &["(0 bytes)"]),
    ];
    for (bytes, words) in cases {
        refuse(&bytes, words);
    }
}

#[test]
fn entries_that_share_bytes_are_refused() {
    let mut entries = entries_of(&common::fixture("flux-dev"));
    // A whole entry of the same name inside the data of the first.
    let inner = archive(&[Entry::new("vae/x.txt", "text")], false);
    let (mut first, mut second) = (Entry::new("vae/a.txt", inner), Entry::new("vae/x.txt", ""));
    entries.retain(|entry| entry.name == b"model_index.json");
    let start = archive(&entries, false).windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let data = archive(&[entries[0].clone(), first.clone()], false);
    let place = data.windows(first.data.len()).position(|window| window == first.data).unwrap();
    assert!(place > start);
    first.data.truncate(first.data.windows(4).position(|window| window == b"PK\x01\x02").unwrap());
    second.data = b"text".to_vec();
    second.offset = Some(place as u64);
    refuse(&archive(&[entries[0].clone(), first, second], false), &["vae/a.txt and vae/x.txt overlap"]);
}

#[test]
fn folders_that_an_archive_lists_by_themselves_are_left_out() {
    let mut entries = entries_of(&common::fixture("flux-dev"));
    entries.insert(0, Entry::new("vae/", ""));
    let (_folder, path) = file_of(&archive(&entries, false));
    open_model(&path, &ComponentPaths::new()).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = archive(&entries_of(&common::fixture("flux-dev")), false);
    let sizes = (0..whole.len()).step_by(whole.len() / 60).chain(whole.len() - 60..whole.len());
    for size in sizes {
        refuse(&whole[..size], &["is not a usable DDUF file", &format!("({size} bytes)")]);
    }
}

/// Opens a file in every way, and reads what is accepted; whether the whole model is.
fn open_and_read(path: &Path) -> bool {
    if let Ok(Some(folder)) = ModelFolder::open(path) {
        for (_, tensor) in folder.components.iter().filter_map(|part| part.weights.as_ref()).flat_map(Checkpoint::tensors) {
            let _ = tensor.to_f32();
        }
    }
    match open_model(path, &ComponentPaths::new()) {
        Ok(_) => true,
        Err(error) => {
            assert!(text(&error).contains("model.dduf"), "{}", text(&error));
            false
        }
    }
}

#[test]
fn damaged_files_neither_panic_nor_hang() {
    const ROUNDS: usize = 300;
    let mut accepted = 0;
    for wide in [false, true] {
        let whole = archive(&entries_of(&common::fixture("flux-schnell")), wide);
        let starts: Vec<usize> = (0..whole.len() - 4).filter(|&at| whole[at..].starts_with(b"PK")).collect();
        let (_folder, path) = file_of(&whole);
        let noise = TorchGenerator::new(11).normal(8 * ROUNDS);
        for round in noise.chunks(8) {
            let numbers: Vec<usize> = round.iter().map(|number| (number.abs() * 1e6) as usize).collect();
            let mut bytes = whole.clone();
            for pair in numbers.chunks(2).take(1 + numbers[0] % 3) {
                // Near a header, where it does harm.
                let place = starts[pair[0] % starts.len()] + pair[1] % 60;
                let value = [0, 1, 0x7f, 0xff, pair[1] as u8][pair[0] % 5];
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = value;
                }
            }
            if numbers[7].is_multiple_of(10) {
                bytes.truncate(numbers[6] % whole.len());
            }
            fs::write(&path, bytes).unwrap();
            accepted += usize::from(open_and_read(&path));
        }
    }
    // Dates and padding may be anything.
    assert!((1..ROUNDS).contains(&accepted), "{accepted}");
}
