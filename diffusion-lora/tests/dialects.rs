//! LoRAs of every dialect against diffusers with the changed weights, from a diffusers folder and from a single file, merged,
//! attached, and with streamed weights.
//!
//! The files, and what diffusers makes of them, come from `fixtures/make_lora_fixtures.py`.

mod common;

use burn::tensor::FloatDType;
use common::{Reference, WithLoras, assert_close, lora_file, pipeline, relative_error};
use diffusion_core::{Application, Precision, Residency, Storage};
use diffusion_lora::dialects::Dialect;
use diffusion_lora::{Lora, LoraSet, Report, SetLoras, Strength};
use diffusion_models::flux::Flux;
use diffusion_models::sd3::Sd3;

/// Both sides compute in f32 from the same stored numbers, in different orders.
const TOLERANCE: f64 = 1e-4;

const COMMON: [&str; 7] = ["diffusers", "kohya", "kohya_dora", "comfyui", "onetrainer", "lycoris", "peft"];
const FLUX_ONLY: [&str; 2] = ["xlabs", "control"];

/// The strengths of the generator's stack.
const STACK: [(&str, f64); 3] = [("diffusers", 0.5), ("kohya", -0.3), ("comfyui", 0.8)];

const APPLICATIONS: [(Application, Residency); 3] = [
    (Application::Merged, Residency::Resident),
    (Application::Attached, Residency::Resident),
    (Application::Merged, Residency::Streamed),
];

/// The fixtures are in bf16. Merging rounds to what is stored, by a hundred times the tolerance there, so what is merged is
/// stored in f32; what is attached loses nothing.
fn precision(application: Application) -> Precision {
    let storage = match application {
        Application::Merged => Storage::Converted(FloatDType::F32),
        Application::Attached => Storage::AsPublished,
    };
    Precision { storage, compute: FloatDType::F32 }
}

fn open<F: WithLoras>(name: &str) -> Lora {
    Lora::open(&lora_file(F::FIXTURE, name)).unwrap()
}

fn every_dialect_gives_what_diffusers_gives<F: WithLoras>(dialects: &[&str]) {
    let reference = Reference::of::<F>();
    for single_file in [false, true] {
        for (application, residency) in APPLICATIONS {
            let mut pipeline = pipeline::<F>(single_file, precision(application));
            pipeline.residency = residency;
            let mut check = |name: &str, set: LoraSet, expected: &str| {
                let reports = pipeline.set_loras(&set.applied(application)).unwrap();
                assert!(reports.iter().all(Report::fits), "{name}");
                let what = format!("{} {expected}, single file {single_file}, {application:?}, {residency:?}", F::FIXTURE);
                let expected = reference.expected(expected);
                // A LoRA that does nothing must not pass.
                assert!(relative_error(expected.clone(), reference.plain_velocity()) > 0.1, "{what}");
                assert_close(&what, reference.velocity(&mut pipeline), expected, TOLERANCE);
            };
            for name in dialects {
                let lora = open::<F>(name);
                check(name, LoraSet::new().with(&lora, 1.0), &format!("{name}.velocity"));
                check(name, LoraSet::new().with(&lora, 0.6), &format!("{name}.velocity_at_0.6"));
            }
            let stack = STACK.iter().fold(LoraSet::new(), |set, (name, scale)| set.with(&open::<F>(name), *scale));
            check("stack", stack, "stack.velocity");
            pipeline.set_loras(&LoraSet::new()).unwrap();
            assert_close("without", reference.velocity(&mut pipeline), reference.plain_velocity(), TOLERANCE);
        }
    }
}

#[test]
fn every_dialect_for_flux_gives_what_diffusers_gives() {
    every_dialect_gives_what_diffusers_gives::<Flux>(&[&COMMON[..], &FLUX_ONLY].concat());
}

#[test]
fn every_dialect_for_stable_diffusion_3_gives_what_diffusers_gives() {
    every_dialect_gives_what_diffusers_gives::<Sd3>(&COMMON);
}

fn text_encoders_are_changed_before_they_encode<F: WithLoras>() {
    let reference = Reference::of::<F>();
    let prompt = reference.run["prompt"].as_str().unwrap().to_owned();
    for application in [Application::Merged, Application::Attached] {
        let mut pipeline = pipeline::<F>(false, precision(application));
        let settings = reference.settings(&pipeline);
        let plain = pipeline.encode_prompt(&prompt, "", &settings).unwrap();
        // On encoders that are loaded, and on encoders that are not.
        for loaded in [true, false] {
            if !loaded {
                pipeline.free_text_encoders();
                pipeline.set_loras(&LoraSet::new()).unwrap();
            }
            // Opened anew, so that no kept prompt answers.
            let lora = open::<F>("text_encoders");
            pipeline.set_loras(&LoraSet::new().with(&lora, 1.0).applied(application)).unwrap();
            let (text, pooled) = F::parts_of(pipeline.encode_prompt(&prompt, "", &settings).unwrap().positive);
            assert_close("text", text, reference.expected("text_encoders.prompt_embeds"), TOLERANCE);
            assert_close("pooled", pooled, reference.expected("text_encoders.pooled"), TOLERANCE);
        }
        // Kept prompts belong to the set that they were encoded with.
        pipeline.set_loras(&LoraSet::new()).unwrap();
        let (text, _) = F::parts_of(pipeline.encode_prompt(&prompt, "", &settings).unwrap().positive);
        let (expected, _) = F::parts_of(plain.positive);
        assert_eq!(text.into_data(), expected.into_data());
    }
}

#[test]
fn text_encoders_of_flux_are_changed_before_they_encode() {
    text_encoders_are_changed_before_they_encode::<Flux>();
}

#[test]
fn text_encoders_of_stable_diffusion_3_are_changed_before_they_encode() {
    text_encoders_are_changed_before_they_encode::<Sd3>();
}

#[test]
fn strengths_can_be_turned_between_steps() {
    let reference = Reference::of::<Flux>();
    for name in ["xlabs", "lycoris"] {
        let lora = open::<Flux>(name);
        let mut pipeline = pipeline::<Flux>(false, Precision::f32());
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
    let mut pipeline = pipeline::<Flux>(false, Precision::f32());
    for (name, dialect, method) in expected {
        let lora = open::<Flux>(name);
        let [report] = &pipeline.set_loras(&LoraSet::new().with(&lora, 1.0)).unwrap()[..] else { panic!("one report") };
        assert_eq!(report.dialects, [dialect], "{name}");
        assert!(report.methods.contains_key(method), "{report}");
        assert_eq!(report.num_matched(), lora.num_adapters(), "{report}");
    }
    let report = Report::of(&open::<Flux>("kohya"));
    assert_eq!((report.ranks, report.alphas), (Some((2, 4)), Some((0.5, 2.0))));
    let report = pipeline.set_loras(&LoraSet::new().with(&open::<Flux>("text_encoders"), 1.0)).unwrap().remove(0);
    assert_eq!(report.matched.len(), 2, "{report}");
}
