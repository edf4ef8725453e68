//! LoRAs of every dialect against diffusers with the patched weights, from a diffusers folder and from a single file, fused,
//! attached, and with streamed weights.
//!
//! The files, and what diffusers makes of them, come from `fixtures/make_lora_fixtures.py`.

mod common;

use burn::tensor::FloatDType;
use common::{FLUX, Layout, Reference, SD3, assert_close, lora_file, pipeline, relative_error};
use diffusion_core::weights::PatchMode;
use diffusion_core::{Precision, Residency, Storage};
use diffusion_lora::dialects::Dialect;
use diffusion_lora::{Lora, LoraSet, Report, SetLoras, Strength};
use diffusion_models::ignore;

/// Both sides compute in f32 from the same stored numbers, in different orders.
const TOLERANCE: f64 = 1e-4;

const COMMON: [&str; 7] = ["diffusers", "kohya", "kohya_dora", "comfyui", "onetrainer", "lycoris", "peft"];
const FLUX_ONLY: [&str; 2] = ["xlabs", "control"];

/// The strengths of the generator's stack.
const STACK: [(&str, f64); 3] = [("diffusers", 0.5), ("kohya", -0.3), ("comfyui", 0.8)];

const MODES: [(PatchMode, Residency); 3] =
    [(PatchMode::Fuse, Residency::Resident), (PatchMode::Attach, Residency::Resident), (PatchMode::Fuse, Residency::Streamed)];

/// The fixtures are in bf16. Fusing rounds to what is stored, by a hundred times the tolerance there, so what is fused is
/// stored in f32; what is attached loses nothing.
fn precision(mode: PatchMode) -> Precision {
    let storage = match mode {
        PatchMode::Fuse => Storage::Converted(FloatDType::F32),
        PatchMode::Attach => Storage::AsPublished,
    };
    Precision { storage, ..Precision::f32() }
}

fn open(family: &str, name: &str) -> Lora {
    Lora::open(&lora_file(family, name)).unwrap()
}

fn every_dialect_gives_what_diffusers_gives(family: &str, dialects: &[&str]) {
    let reference = Reference::of(family);
    for layout in [Layout::Folder, Layout::SingleFile] {
        for (mode, residency) in MODES {
            let mut pipeline = pipeline(family, layout, precision(mode));
            pipeline.set_residency(residency);
            let mut check = |name: &str, set: LoraSet, expected: &str| {
                let reports = pipeline.set_loras(&set.with_mode(mode)).unwrap();
                assert!(reports.iter().all(Report::fits), "{name}");
                let what = format!("{family} {expected}, {layout:?}, {mode:?}, {residency:?}");
                let expected = reference.expected(expected);
                // A LoRA that does nothing must not pass.
                assert!(relative_error(expected.clone(), reference.plain_velocity()) > 0.1, "{what}");
                assert_close(&what, reference.velocity(&mut pipeline), expected, TOLERANCE);
            };
            for name in dialects {
                let lora = open(family, name);
                check(name, LoraSet::new().with(&lora, 1.0), &format!("{name}.velocity"));
                check(name, LoraSet::new().with(&lora, 0.6), &format!("{name}.velocity_at_0.6"));
            }
            let stack = STACK.iter().fold(LoraSet::new(), |set, (name, scale)| set.with(&open(family, name), *scale));
            check("stack", stack, "stack.velocity");
            pipeline.set_loras(&LoraSet::new()).unwrap();
            assert_close("without", reference.velocity(&mut pipeline), reference.plain_velocity(), TOLERANCE);
        }
    }
}

#[test]
fn every_dialect_for_flux_gives_what_diffusers_gives() {
    every_dialect_gives_what_diffusers_gives(FLUX, &[&COMMON[..], &FLUX_ONLY].concat());
}

#[test]
fn every_dialect_for_stable_diffusion_3_gives_what_diffusers_gives() {
    every_dialect_gives_what_diffusers_gives(SD3, &COMMON);
}

fn text_encoders_are_patched_before_they_encode(family: &str) {
    let reference = Reference::of(family);
    let prompt = reference.run["prompt"].as_str().unwrap().to_owned();
    for mode in [PatchMode::Fuse, PatchMode::Attach] {
        let mut pipeline = pipeline(family, Layout::Folder, precision(mode));
        let settings = reference.settings(&pipeline);
        let plain = pipeline.encode_prompt(&prompt, "", &settings, &mut ignore).unwrap();
        // On encoders that are loaded, and on encoders that are not.
        for loaded in [true, false] {
            if !loaded {
                pipeline.free_prompt_encoder();
                pipeline.set_loras(&LoraSet::new()).unwrap();
            }
            // Another Lora of the file, so that no kept prompt answers.
            let lora = open(family, "text_encoders");
            pipeline.set_loras(&LoraSet::new().with(&lora, 1.0).with_mode(mode)).unwrap();
            let encoded = pipeline.encode_prompt(&prompt, "", &settings, &mut ignore).unwrap().positive;
            assert_close("tokens", encoded.tokens, reference.expected("text_encoders.prompt_embeds"), TOLERANCE);
            assert_close("pooled", encoded.pooled, reference.expected("text_encoders.pooled"), TOLERANCE);
        }
        // Kept prompts belong to the set that they were encoded with.
        pipeline.set_loras(&LoraSet::new()).unwrap();
        let encoded = pipeline.encode_prompt(&prompt, "", &settings, &mut ignore).unwrap().positive;
        assert_eq!(encoded.tokens.into_data(), plain.positive.tokens.into_data());
    }
}

#[test]
fn text_encoders_of_flux_are_patched_before_they_encode() {
    text_encoders_are_patched_before_they_encode(FLUX);
}

#[test]
fn text_encoders_of_stable_diffusion_3_are_patched_before_they_encode() {
    text_encoders_are_patched_before_they_encode(SD3);
}

#[test]
fn strengths_can_be_turned_between_steps() {
    let reference = Reference::of(FLUX);
    for name in ["xlabs", "lycoris"] {
        let lora = open(FLUX, name);
        let mut pipeline = pipeline(FLUX, Layout::Folder, Precision::f32());
        let strength = Strength::new(1.0);
        pipeline.set_loras(&LoraSet::new().with_variable(&lora, &strength)).unwrap();
        for (value, expected) in [(1.0, "velocity"), (0.6, "velocity_at_0.6"), (1.0, "velocity")] {
            strength.set(value);
            let expected = reference.expected(&format!("{name}.{expected}"));
            assert_close(&format!("{name} at {value}"), reference.velocity(&mut pipeline), expected, TOLERANCE);
        }
        strength.set(0.0);
        assert_close("turned off", reference.velocity(&mut pipeline), reference.plain_velocity(), TOLERANCE);
    }
}

#[test]
fn reports_name_dialect_method_rank_and_networks() {
    let expected = [
        ("diffusers", Dialect::Diffusers, "LoRA"),
        ("kohya", Dialect::Kohya, "LoRA"),
        ("comfyui", Dialect::ComfyUi, "LoKr"),
        ("onetrainer", Dialect::OneTrainer, "DoRA"),
        ("lycoris", Dialect::Lycoris, "LoHa"),
        ("peft", Dialect::Peft, "DoRA"),
        ("xlabs", Dialect::Xlabs, "LoRA"),
        ("control", Dialect::BflControl, "replacement"),
    ];
    let mut pipeline = pipeline(FLUX, Layout::Folder, Precision::f32());
    for (name, dialect, method) in expected {
        let lora = open(FLUX, name);
        let [report] = &pipeline.set_loras(&LoraSet::new().with(&lora, 1.0)).unwrap()[..] else { panic!("one report") };
        assert_eq!(report.dialects, [dialect], "{name}");
        assert!(report.methods.contains_key(method), "{report}");
        assert_eq!(report.num_matched(), lora.num_adapters(), "{report}");
    }
    let report = open(FLUX, "kohya").contents();
    assert_eq!((report.ranks, report.alphas), (Some((2, 4)), Some((0.5, 2.0))));
    let report = pipeline.set_loras(&LoraSet::new().with(&open(FLUX, "text_encoders"), 1.0)).unwrap().remove(0);
    assert_eq!(report.matched.len(), 2, "{report}");
}
