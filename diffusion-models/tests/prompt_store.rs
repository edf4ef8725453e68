//! Encoded prompts between runs: found again to the bit, without text encoders, and only where nothing has changed.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use burn::tensor::{Device, FloatDType, Tensor};
use common::copy_folder;
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::weights::{ComponentPatches, PatchKey, PatchMode, PatchStrength, PatchWeights, WeightPatch, WeightPatches};
use diffusion_core::{Precision, Residency};
use diffusion_models::components::{CLIP_L, T5XXL, TRANSFORMER};
use diffusion_models::{
    ComponentPaths, EncodedPrompt, Event, Pipeline, PipelineError, PipelineOptions, PromptStore, PromptStoreError, Settings,
    ignore, read_encoded_prompt,
};
use fixture::{Fixture, Layout, pipeline};

const TEXT: &str = "a lighthouse";

fn with_store(mut pipeline: Pipeline, folder: &Path) -> Pipeline {
    pipeline.set_prompt_store(PromptStore::open(folder, "these tests").unwrap());
    pipeline
}

fn bits(prompt: &EncodedPrompt) -> Vec<u32> {
    let conditionings = [Some(&prompt.positive), prompt.negative.as_ref()].into_iter().flatten();
    let data = conditionings.flat_map(|conditioning| [conditioning.tokens.to_data(), conditioning.pooled.to_data()]);
    data.flat_map(|data| data.try_to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
}

/// Bits of the encoded text; how many texts were read from the store, and how many were not there.
fn encoded(pipeline: &mut Pipeline, text: &str, settings: &Settings) -> (Vec<u32>, usize, usize) {
    let bits = bits(&pipeline.encode_prompt(text, "fog", settings, &mut ignore).unwrap());
    let report = pipeline.prompt_store().unwrap().1;
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    (bits, report.read, report.missed)
}

#[test]
fn a_text_of_an_earlier_run_is_equal_to_the_bit_and_loads_no_text_encoder() {
    let long = "a lighthouse on a rock in the rising fog, ".repeat(30);
    for (name, layout) in [("sd3", Layout::Folder), ("sd3", Layout::SingleFile), ("flux-dev", Layout::Folder)] {
        let (fixture, folder) = (Fixture::new(name), tempfile::tempdir().unwrap());
        let settings = fixture.settings();
        let texts = usize::from(settings.is_guided()) + 1;
        for text in [TEXT, "", &long] {
            let expected = fixture.pipeline_in(layout).encode_prompt(text, "fog", &settings, &mut ignore).unwrap();
            for run in 0..2 {
                let mut pipeline = with_store(fixture.pipeline_in(layout), folder.path());
                let mut loaded = 0;
                let mut observer = |event: Event| {
                    loaded += usize::from(matches!(event, Event::Loading { .. }));
                    ControlFlow::Continue(())
                };
                let found = pipeline.encode_prompt(text, "fog", &settings, &mut observer).unwrap();
                assert!(bits(&found) == bits(&expected), "{name} {layout:?}");
                assert_eq!(found.truncated, expected.truncated);
                assert_eq!(pipeline.has_prompt_encoder(), run == 0);
                assert_eq!(loaded > 0, run == 0);
                // The negative text is there from the second text on.
                let report = pipeline.prompt_store().unwrap().1;
                let missed = if run == 1 {
                    0
                } else if text == TEXT {
                    texts
                } else {
                    1
                };
                assert_eq!((report.read, report.missed), (texts - missed, missed));
            }
        }
        assert!(is_cut(&fixture, &long));
    }
}

fn is_cut(fixture: &Fixture, text: &str) -> bool {
    let model = fixture.open(Layout::Folder).unwrap();
    !model.tokenize(text, fixture.run.max_sequence_length).unwrap().truncated.is_empty()
}

/// A pipeline with one choice that is not the usual one.
type Choice = fn(&Fixture, &Path, &mut Settings) -> Pipeline;

#[test]
fn whatever_a_text_depends_on_is_a_part_of_its_key() {
    let fixture = Fixture::new("sd3");
    let folder = tempfile::tempdir().unwrap();
    let usual: Choice = |fixture, folder, _| with_store(fixture.pipeline(), folder);
    let others: [(&str, Choice); 6] = [
        ("length", |fixture, folder, settings| {
            settings.max_sequence_length -= 1;
            with_store(fixture.pipeline(), folder)
        }),
        ("maker", |fixture, folder, _| {
            let mut pipeline = fixture.pipeline();
            pipeline.set_prompt_store(PromptStore::open(folder, "another build").unwrap());
            pipeline
        }),
        ("precision", |fixture, folder, _| {
            let precision = Precision::computing_in(FloatDType::BF16);
            let options = PipelineOptions { precision, ..PipelineOptions::new(&Device::flex()) };
            with_store(Pipeline::open(&fixture.path(""), &options).unwrap(), folder)
        }),
        ("missing encoder", |fixture, folder, _| {
            with_store(pipeline(&fixture.path(""), &ComponentPaths::new().without(T5XXL)), folder)
        }),
        ("encoder of another file", |fixture, folder, _| {
            let [(_, original), ..] = fixture.text_encoders();
            let clip_l = folder.join("clip_l");
            if !clip_l.exists() {
                fs::create_dir(&clip_l).unwrap();
                copy_folder(&original, &clip_l);
            }
            let components = ComponentPaths::new().with(CLIP_L, clip_l);
            with_store(pipeline(&fixture.path(""), &components), folder)
        }),
        ("patches", |fixture, folder, _| patched(fixture, folder, 0.5, true)),
    ];
    let settings = fixture.settings();
    let read = |choice: Choice, text: &str| {
        let mut settings = settings.clone();
        let mut pipeline = choice(&fixture, folder.path(), &mut settings);
        let (_, read, missed) = encoded(&mut pipeline, text, &settings);
        assert_eq!(read + missed, 2);
        read
    };
    assert_eq!(read(usual, TEXT), 0);
    assert_eq!(read(usual, TEXT), 2);
    assert_eq!(read(usual, "a lighthouse!"), 1, "the negative text only");
    for (name, other) in others {
        assert_eq!(read(other, TEXT), 0, "{name}");
        assert_eq!(read(other, TEXT), 2, "{name}");
    }
    assert_eq!(read(usual, TEXT), 2);
    // What is streamed is the same numbers.
    let streamed: Choice = |fixture, folder, _| {
        let mut pipeline = with_store(fixture.pipeline(), folder);
        pipeline.set_residency(Residency::Streamed);
        pipeline
    };
    assert_eq!(read(streamed, TEXT), 2);
}

/// Adds a number to every weight.
#[derive(Debug)]
struct Constant {
    key: [PatchKey; 1],
    added: f64,
    is_told: bool,
}

impl WeightPatch for Constant {
    fn fused(&self, weight: Tensor<2>) -> Tensor<2> {
        weight + self.added
    }

    fn identify(&self, mut state: &mut dyn Hasher) -> Option<()> {
        self.added.to_bits().hash(&mut state);
        self.is_told.then_some(())
    }

    fn key(&self) -> &[PatchKey] {
        &self.key
    }
}

/// A matrix of CLIP-L.
const MATRIX: &str = "layers.0.feed_forward_input.weight";

fn constant(added: f64, is_told: bool) -> WeightPatches {
    let key = [PatchKey { adapter: 1, strength: PatchStrength::Fixed(added) }];
    let patch: Arc<dyn WeightPatch> = Arc::new(Constant { key, added, is_told });
    [(MATRIX.to_owned(), patch)].into_iter().collect()
}

/// A pipeline with a store whose CLIP-L is patched.
fn patched(fixture: &Fixture, folder: &Path, added: f64, is_told: bool) -> Pipeline {
    let patches = constant(added, is_told);
    let mut pipeline = with_store(fixture.pipeline(), folder);
    pipeline.patch_weights(ComponentPatches::from([(CLIP_L, patches)]), PatchMode::Fuse).unwrap();
    pipeline
}

#[test]
fn patches_that_are_set_later_count_and_those_of_other_networks_do_not() {
    let (fixture, folder) = (Fixture::new("sd3"), tempfile::tempdir().unwrap());
    let settings = fixture.settings();
    let mut plain = with_store(fixture.pipeline(), folder.path());
    let (expected, ..) = encoded(&mut plain, TEXT, &settings);
    let mut changed = patched(&fixture, folder.path(), 0.25, true);
    let (patched_bits, read, _) = encoded(&mut changed, TEXT, &settings);
    assert!(read == 0 && patched_bits != expected);
    changed.patch_weights(ComponentPatches::new(), PatchMode::Fuse).unwrap();
    assert_eq!(encoded(&mut changed, TEXT, &settings), (expected.clone(), 2, 0));
    let mut other = with_store(fixture.pipeline(), folder.path());
    let of_transformer = ComponentPatches::from([(TRANSFORMER, constant(0.5, false))]);
    other.patch_weights(of_transformer, PatchMode::Attach).unwrap();
    assert_eq!(encoded(&mut other, TEXT, &settings), (expected, 2, 0));
}

#[test]
fn patches_that_cannot_be_told_apart_later_keep_a_text_from_the_store() {
    let (fixture, folder) = (Fixture::new("sd3"), tempfile::tempdir().unwrap());
    let settings = fixture.settings();
    for _ in 0..2 {
        let mut pipeline = patched(&fixture, folder.path(), 0.25, false);
        let (_, read, missed) = encoded(&mut pipeline, TEXT, &settings);
        assert_eq!((read, missed, pipeline.has_prompt_encoder()), (0, 0, true));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn texts_are_kept_for_later_without_staying_in_memory() {
    let (fixture, folder) = (Fixture::new("sd3"), tempfile::tempdir().unwrap());
    let store = PromptStore::open(folder.path(), "these tests").unwrap();
    let long = "a lighthouse on a rock in the rising fog, ".repeat(30);
    let (texts, settings) = ([TEXT, "", &long], fixture.settings());
    for run in 0..2 {
        let mut pipeline = fixture.pipeline();
        let mut told = Vec::new();
        let mut observer = |event: Event| {
            if let Event::Encoded { done, total, truncated } = event {
                told.push((done, total, !truncated.is_empty()));
            }
            ControlFlow::Continue(())
        };
        let kept = pipeline.keep_prompts(&texts, &store, &settings, &mut observer).unwrap();
        assert_eq!(told, [(1, 3, false), (2, 3, false), (3, 3, true)]);
        assert_eq!(pipeline.has_prompt_encoder(), run == 0);
        assert!(pipeline.prompt_store().is_none());
        for (text, kept) in texts.iter().zip(kept) {
            let expected = pipeline.encode_prompt(text, "", &settings, &mut ignore).unwrap();
            let found = read_encoded_prompt(&kept.path, &Device::flex()).unwrap();
            assert!(bits(&EncodedPrompt::new(found, expected.negative.clone())) == bits(&expected));
            assert_eq!(kept.truncated.is_empty(), *text != long);
        }
    }
}

#[test]
fn texts_that_cannot_be_kept_are_refused() {
    let (fixture, folder) = (Fixture::new("sd3"), tempfile::tempdir().unwrap());
    let settings = fixture.settings();
    let store = PromptStore::open(folder.path(), "these tests").unwrap();
    let refused = |mut pipeline: Pipeline, store: &PromptStore| match pipeline
        .keep_prompts(&[TEXT], store, &settings, &mut ignore)
        .unwrap_err()
    {
        PipelineError::PromptStore(error) => error,
        other => panic!("{other}"),
    };
    let error = refused(fixture.pipeline(), &store.clone().with_limit(100));
    assert!(matches!(&error, PromptStoreError::NotKept { text } if text == TEXT), "{error}");
    let error = refused(patched(&fixture, folder.path(), 0.25, false), &store);
    assert!(matches!(error, PromptStoreError::Untold), "{error}");
    let mut cancelled = |_: Event| ControlFlow::Break(());
    let error = fixture.pipeline().keep_prompts(&[TEXT], &store, &settings, &mut cancelled).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

#[test]
fn an_encoder_that_changed_in_place_is_another_even_if_its_size_and_date_are_the_same() {
    let (fixture, folder, model) = (Fixture::new("sd3"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy_folder(&fixture.path(""), model.path());
    let settings = fixture.settings();
    let open = || pipeline(model.path(), &ComponentPaths::new());
    let (before, ..) = encoded(&mut with_store(open(), folder.path()), TEXT, &settings);
    for weights in ["text_encoder", "text_encoder_2", "text_encoder_3"] {
        let path = model.path().join(weights).join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        // The high byte of the last number.
        *bytes.last_mut().unwrap() ^= 0x80;
        let file = File::options().write(true).open(&path).unwrap();
        let date = file.metadata().unwrap().modified().unwrap();
        (&file).write_all(&bytes).unwrap();
        file.set_modified(date).unwrap();
        let (found, read, missed) = encoded(&mut with_store(open(), folder.path()), TEXT, &settings);
        assert_eq!((read, missed), (0, 2), "{weights}");
        assert!(found != before, "{weights}");
    }
}

#[test]
fn a_file_that_is_written_to_while_a_pipeline_has_it_open_is_an_error_as_ever() {
    let (fixture, folder, model) = (Fixture::new("sd3"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy_folder(&fixture.path(""), model.path());
    let mut pipeline = with_store(pipeline(model.path(), &ComponentPaths::new()), folder.path());
    let file = File::options().write(true).open(model.path().join("text_encoder/model.safetensors")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let error = pipeline.encode_prompt(TEXT, "", &fixture.settings(), &mut ignore).unwrap_err();
    assert!(matches!(error, PipelineError::Checkpoint(CheckpointError::Changed { .. })), "{error}");
}

#[test]
fn a_damaged_text_is_encoded_again_with_a_warning() {
    let (fixture, folder) = (Fixture::new("flux-dev"), tempfile::tempdir().unwrap());
    let settings = fixture.settings();
    let (expected, ..) = encoded(&mut with_store(fixture.pipeline(), folder.path()), TEXT, &settings);
    let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut pipeline = with_store(fixture.pipeline(), folder.path());
    let found = pipeline.encode_prompt(TEXT, "", &settings, &mut ignore).unwrap();
    assert!(bits(&found) == expected);
    let warnings: Vec<_> = pipeline.prompt_store().unwrap().1.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].contains(&path.display().to_string()), "{warnings:?}");
    assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
    assert_eq!(encoded(&mut with_store(fixture.pipeline(), folder.path()), TEXT, &settings), (expected, 1, 0));
}

/// What is on the disk tells nobody who reads it what was written.
#[test]
fn a_file_does_not_hold_the_text() {
    let (fixture, folder) = (Fixture::new("sd3"), tempfile::tempdir().unwrap());
    let secret = "a surprise party for Lena, ".repeat(30);
    encoded(&mut with_store(fixture.pipeline(), folder.path()), &secret, &fixture.settings());
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("Lena"));
    }
}

#[test]
fn a_precision_that_is_set_later_counts() {
    let (fixture, folder) = (Fixture::new("sd3"), tempfile::tempdir().unwrap());
    let settings = fixture.settings();
    let mut pipeline = with_store(fixture.pipeline(), folder.path());
    assert_eq!(encoded(&mut pipeline, TEXT, &settings).2, 2);
    pipeline.set_precision(Precision::computing_in(FloatDType::BF16));
    assert_eq!(encoded(&mut pipeline, TEXT, &settings).2, 2);
    // How exact products are is a matter of the transformer alone.
    pipeline.set_precision(Precision::bf16_products());
    assert_eq!(encoded(&mut pipeline, TEXT, &settings).1, 2);
}
