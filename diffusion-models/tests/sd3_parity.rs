//! Stable Diffusion 3 against diffusers, stage by stage, from a diffusers folder and from a single file.
//!
//! Fixtures and their generator: `fixtures/README.md`. The blocks inside the transformer are compared beside their code.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use common::assert_close;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::{Precision, Residency, SigmaSchedule, TextEncoder};
use diffusion_models::sd3::{Sd3Conditioning, Sd3Files, Sd3Pipeline};
use diffusion_models::{ModelParts, Prompt, Settings, Tiling};
use diffusion_schedulers::schedules::FlowShift;
use fixture::{Fixture, Layout, as_batch, in_both_layouts, token_ids};

/// Both sides compute in f32 from the same stored values and sum in different orders, which shows at 1e-6; a weight in the
/// wrong place shows above 2e-4 (`fixtures/README.md`).
const TOLERANCE: f64 = 1e-4;

/// Twenty steps of a trained model with guidance 5, whose roundings add up.
const WHOLE_RUN_TOLERANCE: f64 = 1e-3;

/// Sigmas of the reference are rounded to f32.
const SIGMA_TOLERANCE: f64 = 1e-6;

#[test]
fn prompts_become_the_token_ids_of_the_reference() {
    let device = Device::flex();
    for (fixture, layout) in in_both_layouts() {
        let encoders = fixture.open(layout).unwrap().load_text_encoders(Precision::f32(), Residency::Resident, &device).unwrap();
        let (clip_l, _) = encoders.clip_l.unwrap();
        let (clip_g, _) = encoders.clip_g.unwrap();
        let (t5, _) = encoders.t5.unwrap();
        let prompt = &fixture.run.prompt;
        assert_eq!(clip_l.encode(prompt, clip_l.max_length()).unwrap().ids, fixture.token_ids(1), "{fixture}, {layout:?}");
        assert_eq!(clip_g.encode(prompt, clip_g.max_length()).unwrap().ids, fixture.token_ids(2), "{fixture}, {layout:?}");
        assert_eq!(
            t5.encode(prompt, fixture.run.max_sequence_length).unwrap().ids,
            fixture.token_ids(3),
            "{fixture}, {layout:?}"
        );
    }
}

#[test]
fn text_encoders_give_the_hidden_states_of_the_reference() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3");
    let stages = Checkpoint::open(&fixture.path("stages.safetensors")).unwrap();
    for layout in [Layout::Folder, Layout::SingleFile] {
        let encoders = fixture.open(layout).unwrap().load_text_encoders(Precision::f32(), Residency::Resident, &device).unwrap();
        let clips = [("clip_l", encoders.clip_l.unwrap().1), ("clip_g", encoders.clip_g.unwrap().1)];
        for (index, (name, encoder)) in clips.into_iter().enumerate() {
            let found = encoder.encode(as_batch(&fixture.token_ids(index + 1), &device));
            let expected = common::tensor(&stages, &format!("{name}.penultimate_hidden_states"), &device);
            assert_close(&format!("{name} hidden states, {layout:?}"), found.hidden_states, expected, TOLERANCE);
            let expected = common::tensor(&stages, &format!("{name}.pooled"), &device);
            assert_close(&format!("{name} pooled, {layout:?}"), found.pooled.unwrap(), expected, TOLERANCE);
        }
        let (_, t5) = encoders.t5.unwrap();
        let found = t5.encode(as_batch(&fixture.token_ids(3), &device));
        let expected = common::tensor(&stages, "t5.last_hidden_state", &device);
        assert_close(&format!("t5 hidden states, {layout:?}"), found.hidden_states, expected, TOLERANCE);
        assert!(found.pooled.is_none());
    }
}

#[test]
fn t5_agrees_beyond_the_last_distance_bucket() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3");
    let stages = Checkpoint::open(&fixture.path("stages.safetensors")).unwrap();
    let encoders =
        fixture.open(Layout::Folder).unwrap().load_text_encoders(Precision::f32(), Residency::Resident, &device).unwrap();
    let ids = token_ids(&stages, "t5_long.ids");
    let found = encoders.t5.unwrap().1.encode(as_batch(&ids, &device)).hidden_states;
    for (part, start) in [("first_4", 0), ("last_4", ids.len() - 4)] {
        let expected = common::tensor(&stages, &format!("t5_long.last_hidden_state.{part}"), &device);
        assert_close(&format!("t5, {part} of {}", ids.len()), found.clone().narrow(1, start, 4), expected, TOLERANCE);
    }
}

#[test]
fn prompts_become_the_embeddings_of_the_reference() {
    let device = Device::flex();
    for (fixture, layout) in in_both_layouts() {
        let encoders = fixture.open(layout).unwrap().load_text_encoders(Precision::f32(), Residency::Resident, &device).unwrap();
        for (prompt, sign) in [(&fixture.run.prompt, ""), (&fixture.run.negative_prompt, "negative_")] {
            let found = encoders.encode(prompt, fixture.run.max_sequence_length, &device).unwrap();
            let what = |part: &str| format!("{fixture} {sign}{part}, {layout:?}");
            assert_close(&what("prompt_embeds"), found.text, fixture.tensor(&format!("{sign}prompt_embeds")), TOLERANCE);
            let expected = fixture.tensor(&format!("{sign}pooled_prompt_embeds"));
            assert_close(&what("pooled_prompt_embeds"), found.pooled, expected, TOLERANCE);
        }
    }
}

#[test]
fn the_first_velocity_is_that_of_the_reference() {
    let device = Device::flex();
    for (fixture, layout) in in_both_layouts() {
        let transformer = fixture.open(layout).unwrap().load_transformer(Precision::f32(), Residency::Resident, &device).unwrap();
        let found = transformer.forward(fixture.tensor("noise"), 1.0, &fixture.prompt().positive, &[]);
        assert_close(&format!("{fixture} velocity_0, {layout:?}"), found, fixture.tensor("velocity_0"), TOLERANCE);
    }
}

#[test]
fn a_batch_gives_what_its_pictures_give_alone() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3");
    let transformer =
        fixture.open(Layout::Folder).unwrap().load_transformer(Precision::f32(), Residency::Resident, &device).unwrap();
    let Prompt { positive, negative } = fixture.prompt();
    let negative = negative.unwrap();
    let (first, second) = (fixture.tensor::<4>("noise"), fixture.tensor::<4>("latents_3"));
    let alone =
        [transformer.forward(first.clone(), 0.7, &negative, &[]), transformer.forward(second.clone(), 0.7, &positive, &[])];
    let both = Sd3Conditioning::batched(&[&negative, &positive]);
    let together = transformer.forward(Tensor::cat(vec![first, second], 0), 0.7, &both, &[]);
    assert_close("velocity of a batch", together, Tensor::cat(alone.to_vec(), 0), TOLERANCE);
}

#[test]
fn sigmas_are_those_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let schedule = fixture.open(layout).unwrap().schedule();
        assert_sigmas(schedule, &fixture.tensor("sigmas"));
    }
    let stages = Checkpoint::open(&Fixture::new("sd3").path("stages.safetensors")).unwrap();
    for shift in [1, 3] {
        for steps in [4, 5, 8, 28] {
            let expected = common::tensor(&stages, &format!("sigmas.shift_{shift}.steps_{steps}"), &Device::flex());
            assert_sigmas(FlowShift::new(f64::from(shift)).unwrap(), &expected);
        }
    }
}

#[track_caller]
fn assert_sigmas(schedule: FlowShift, expected: &Tensor<1>) {
    let expected: Vec<f64> = expected.to_data().iter::<f64>().collect();
    let found = schedule.sigmas(expected.len() - 1).unwrap();
    let found = found.as_slice();
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() <= SIGMA_TOLERANCE);
    assert!(close, "{schedule:?}: found {found:?}, expected {expected:?}");
}

#[test]
fn latents_of_every_step_are_those_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let steps = denoise(&fixture, layout, &fixture.settings());
        assert_eq!(steps.len(), fixture.run.steps);
        for (index, latents) in steps.into_iter().enumerate() {
            let name = format!("latents_{}", index + 1);
            assert_close(&format!("{fixture} {name}, {layout:?}"), latents, fixture.tensor(&name), TOLERANCE);
        }
    }
}

#[test]
fn skip_layer_guidance_gives_the_latents_of_the_reference() {
    let fixture = Fixture::new("sd3");
    for layout in [Layout::Folder, Layout::SingleFile] {
        let latents = denoise(&fixture, layout, &fixture.skip_layer_settings().unwrap()).pop().unwrap();
        let expected = fixture.tensor("slg_latents");
        assert_close(&format!("{fixture} slg_latents, {layout:?}"), latents, expected, TOLERANCE);
    }
}

/// Latents after every step, from the reference's embeddings and noise.
fn denoise(fixture: &Fixture, layout: Layout, settings: &Settings) -> Vec<Tensor<4>> {
    let mut pipeline = pipeline(fixture, layout);
    let mut steps = Vec::new();
    let last = pipeline.denoise(&fixture.prompt(), fixture.tensor("noise"), settings, &mut |step| {
        steps.push(step.latents);
        ControlFlow::Continue(())
    });
    assert_eq!(last.unwrap().into_data(), steps.last().unwrap().to_data());
    steps
}

fn pipeline(fixture: &Fixture, layout: Layout) -> Sd3Pipeline {
    let parts = fixture.parts();
    let (path, parts) = match layout {
        Layout::Folder => (fixture.path(""), ModelParts::default()),
        Layout::SingleFile => (fixture.path("original.safetensors"), parts),
    };
    Sd3Pipeline::open(&path, &parts, Precision::f32(), &Device::flex()).unwrap()
}

#[test]
fn latents_become_the_picture_of_the_reference() {
    let device = Device::flex();
    for (fixture, layout) in in_both_layouts() {
        let decoder = fixture.open(layout).unwrap().load_decoder(Precision::f32(), &device).unwrap();
        let latents = fixture.tensor(&format!("latents_{}", fixture.run.steps));
        let found = to_unit_range(decoder.decode(latents, Tiling::Whole));
        assert_close(&format!("{fixture} image, {layout:?}"), found, fixture.tensor("image"), TOLERANCE);
    }
}

/// Pictures as the reference has them: [0, 1], clamped.
fn to_unit_range(images: Tensor<4>) -> Tensor<4> {
    (images * 0.5 + 0.5).clamp(0.0, 1.0)
}

#[test]
fn a_prompt_becomes_the_picture_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let mut pipeline = pipeline(&fixture, layout);
        let settings = fixture.settings();
        let prompt = pipeline.encode_prompt(&fixture.run.prompt, &fixture.run.negative_prompt, &settings).unwrap();
        let latents = pipeline.denoise(&prompt, fixture.tensor("noise"), &settings, &mut |_| ControlFlow::Continue(())).unwrap();
        let expected = fixture.tensor(&format!("latents_{}", fixture.run.steps));
        assert_close(&format!("{fixture} latents from the prompt, {layout:?}"), latents.clone(), expected, TOLERANCE);

        let picture = pipeline.decode(latents, Tiling::Whole).unwrap().remove(0);
        assert_eq!((picture.width, picture.height), (settings.width, settings.height));
        let reference = fixture.tensor::<4>("image").permute([0, 2, 3, 1]).into_data();
        let levels = reference.iter::<f32>().map(|value| value * 255.0);
        // Half a level of rounding, and a little for values that sit on its edge.
        let worst = picture.pixels.iter().zip(levels).map(|(&found, expected)| (f32::from(found) - expected).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst <= 0.51, "{fixture}, {layout:?}: a pixel is {worst} levels off");
    }
}

#[test]
fn the_miniature_draws_the_picture_of_the_reference() {
    let device = Device::flex();
    let model = common::fixture("../diffusion-app/assets/mini-sd3");
    let reference = Fixture::new("mini-sd3-reference");
    let mut pipeline = Sd3Pipeline::open(&model, &ModelParts::default(), Precision::f32(), &device).unwrap();
    let settings = reference.settings();
    let defaults = pipeline.default_settings();
    assert_eq!(
        (defaults.width, defaults.height, defaults.max_sequence_length),
        (settings.width, settings.height, settings.max_sequence_length)
    );

    let noise = pipeline.noise(reference.run.seed, &settings);
    assert_close("noise of the seed", noise.clone(), reference.tensor("noise"), 1e-6);
    let prompt = pipeline.encode_prompt(&reference.run.prompt, &reference.run.negative_prompt, &settings).unwrap();
    let mut steps = Vec::new();
    let last = pipeline.denoise(&prompt, noise, &settings, &mut |step| {
        steps.push(step.latents);
        ControlFlow::Continue(())
    });
    last.unwrap();
    for step in [1, 10, 20] {
        let name = format!("latents_{step}");
        assert_close(&name, steps[step - 1].clone(), reference.tensor(&name), WHOLE_RUN_TOLERANCE);
    }
    let decoder = pipeline.files.load_decoder(Precision::f32(), &device).unwrap();
    let picture = to_unit_range(decoder.decode(reference.tensor("latents_20"), Tiling::Whole));
    assert_close("picture", picture, reference.tensor("image"), TOLERANCE);
}

#[test]
fn freed_text_encoders_are_loaded_again() {
    let fixture = Fixture::new("sd3");
    let (mut pipeline, settings) = (pipeline(&fixture, Layout::Folder), fixture.settings());
    let mut encode = || {
        let prompt = pipeline.encode_prompt(&fixture.run.prompt, "", &settings).unwrap().positive;
        pipeline.free_text_encoders();
        (prompt.text.into_data(), prompt.pooled.into_data())
    };
    assert_eq!(encode(), encode());
}

#[test]
fn a_missing_text_encoder_counts_as_zeros() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3-large");
    let whole = fixture.prompt().positive;
    let [clip_len, clip_l, clip_g] = [24, 22, 30];
    let encode = |parts: ModelParts| {
        let files = Sd3Files::open(&fixture.path("original.safetensors"), &parts).unwrap();
        let encoders = files.load_text_encoders(Precision::f32(), Residency::Resident, &device).unwrap();
        encoders.encode(&fixture.run.prompt, fixture.run.max_sequence_length, &device).unwrap()
    };
    let zeroed = |tokens: std::ops::Range<usize>, channels: std::ops::Range<usize>| {
        let silence = Tensor::zeros([1, tokens.len(), channels.len()], &device);
        whole.text.clone().slice_assign([0..1, tokens, channels], silence)
    };
    let [_, text_len, width] = whole.text.dims();

    let without_t5 = encode(ModelParts { t5xxl: None, ..fixture.parts() });
    assert_close("text without T5", without_t5.text, zeroed(clip_len..text_len, 0..width), TOLERANCE);
    assert_close("pooled without T5", without_t5.pooled, whole.pooled.clone(), TOLERANCE);
    let without_g = encode(ModelParts { clip_g: None, ..fixture.parts() });
    assert_close("text without CLIP-G", without_g.text, zeroed(0..clip_len, clip_l..clip_l + clip_g), TOLERANCE);
    let without_l = encode(ModelParts { clip_l: None, ..fixture.parts() });
    assert_close("text without CLIP-L", without_l.text, zeroed(0..clip_len, 0..clip_l), TOLERANCE);
    let pooled = whole.pooled.slice_assign([0..1, 0..clip_l], Tensor::zeros([1, clip_l], &device));
    assert_close("pooled without CLIP-L", without_l.pooled, pooled, TOLERANCE);
}
