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
use diffusion_core::weights::ComponentId;
use diffusion_core::{Loading, Precision, SigmaSchedule, Sigmas, TextEncoder};
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL};
use diffusion_models::sd3::{Sd3Model, Sd3PromptEncoder, Sd3Transformer};
use diffusion_models::{
    ComponentPaths, Conditioning, EncodedPrompt, Event, Pipeline, PromptEncoder, Settings, Start, Tiling, ignore, open_model,
};
use diffusion_schedulers::schedules::FlowShift;
use fixture::{Fixture, Layout, as_batch, in_both_layouts, pipeline, token_ids, typed, velocity};

/// Both sides compute in f32 from the same stored values and sum in different orders, which shows at 1e-6; a weight in the
/// wrong place shows above 2e-4 (`fixtures/README.md`).
const TOLERANCE: f64 = 1e-4;

/// Twenty steps of a trained model with guidance 5, whose roundings add up.
const WHOLE_RUN_TOLERANCE: f64 = 1e-3;

/// Sigmas of the reference are rounded to f32.
const SIGMA_TOLERANCE: f64 = 1e-6;

fn text_encoders(fixture: &Fixture, layout: Layout) -> Sd3PromptEncoder {
    let model = fixture.open(layout).unwrap();
    typed::<Sd3Model>(&*model).load_text_encoders(&Loading::new(Precision::f32(), &Device::flex())).unwrap()
}

fn transformer(fixture: &Fixture, layout: Layout) -> Sd3Transformer {
    let model = fixture.open(layout).unwrap();
    typed::<Sd3Model>(&*model).load_transformer(&Loading::new(Precision::f32(), &Device::flex())).unwrap()
}

#[test]
fn prompts_become_the_token_ids_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let encoders = text_encoders(&fixture, layout);
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
        let encoders = text_encoders(&fixture, layout);
        let clips = [("clip_l", encoders.clip_l.unwrap().1), ("clip_g", encoders.clip_g.unwrap().1)];
        for (index, (name, encoder)) in clips.into_iter().enumerate() {
            let found = encoder.encode(as_batch(&fixture.token_ids(index + 1), &device)).unwrap();
            let expected = common::tensor(&stages, &format!("{name}.penultimate_hidden_states"), &device);
            assert_close(&format!("{name} hidden states, {layout:?}"), found.hidden_states, expected, TOLERANCE);
            let expected = common::tensor(&stages, &format!("{name}.pooled"), &device);
            assert_close(&format!("{name} pooled, {layout:?}"), found.pooled.unwrap(), expected, TOLERANCE);
        }
        let (_, t5) = encoders.t5.unwrap();
        let found = t5.encode(as_batch(&fixture.token_ids(3), &device)).unwrap();
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
    let encoders = text_encoders(&fixture, Layout::Folder);
    let ids = token_ids(&stages, "t5_long.ids");
    let found = encoders.t5.unwrap().1.encode(as_batch(&ids, &device)).unwrap().hidden_states;
    for (part, start) in [("first_4", 0), ("last_4", ids.len() - 4)] {
        let expected = common::tensor(&stages, &format!("t5_long.last_hidden_state.{part}"), &device);
        assert_close(&format!("t5, {part} of {}", ids.len()), found.clone().narrow(1, start, 4), expected, TOLERANCE);
    }
}

#[test]
fn prompts_become_the_embeddings_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let encoders = text_encoders(&fixture, layout);
        for (prompt, sign) in [(&fixture.run.prompt, ""), (&fixture.run.negative_prompt, "negative_")] {
            let found = encoders.encode(prompt, fixture.run.max_sequence_length).unwrap().conditioning;
            let what = |part: &str| format!("{fixture} {sign}{part}, {layout:?}");
            assert_close(&what("prompt_embeds"), found.tokens, fixture.tensor(&format!("{sign}prompt_embeds")), TOLERANCE);
            let expected = fixture.tensor(&format!("{sign}pooled_prompt_embeds"));
            assert_close(&what("pooled_prompt_embeds"), found.pooled, expected, TOLERANCE);
        }
    }
}

#[test]
fn the_first_velocity_is_that_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let transformer = transformer(&fixture, layout);
        let found = velocity(&transformer, fixture.tensor("noise"), 1.0, &fixture.prompt().positive);
        assert_close(&format!("{fixture} velocity_0, {layout:?}"), found, fixture.tensor("velocity_0"), TOLERANCE);
    }
}

#[test]
fn a_batch_gives_what_its_images_give_alone() {
    let fixture = Fixture::new("sd3");
    let transformer = transformer(&fixture, Layout::Folder);
    let EncodedPrompt { positive, negative, .. } = fixture.prompt();
    let negative = negative.unwrap();
    let (first, second) = (fixture.tensor::<4>("noise"), fixture.tensor::<4>("latents_3"));
    let alone = [velocity(&transformer, first.clone(), 0.7, &negative), velocity(&transformer, second.clone(), 0.7, &positive)];
    let both = Conditioning::batch(&[&negative, &positive]);
    let together = velocity(&transformer, Tensor::cat(vec![first, second], 0), 0.7, &both);
    assert_close("velocity of a batch", together, Tensor::cat(alone.to_vec(), 0), TOLERANCE);
}

#[test]
fn sigmas_are_those_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let model = fixture.open(layout).unwrap();
        let expected = fixture.tensor("sigmas");
        let settings = Settings { num_steps: fixture.run.steps, ..fixture.settings() };
        assert_sigmas(&model.schedule(&settings).unwrap().released, &expected);
    }
    let stages = Checkpoint::open(&Fixture::new("sd3").path("stages.safetensors")).unwrap();
    for shift in [1, 3] {
        for steps in [4, 5, 8, 28] {
            let expected = common::tensor(&stages, &format!("sigmas.shift_{shift}.steps_{steps}"), &Device::flex());
            assert_sigmas(&FlowShift::new(f64::from(shift)).unwrap().sigmas(steps).unwrap(), &expected);
        }
    }
}

#[track_caller]
fn assert_sigmas(found: &Sigmas, expected: &Tensor<1>) {
    let expected: Vec<f64> = expected.to_data().iter::<f64>().collect();
    let found = found.as_slice();
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() <= SIGMA_TOLERANCE);
    assert!(close, "found {found:?}, expected {expected:?}");
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
    let mut pipeline = fixture.pipeline_in(layout);
    let mut steps = Vec::new();
    let start = Start::from_noise(fixture.tensor("noise"));
    let last = pipeline.denoise(&fixture.prompt(), &start, settings, &mut |event| {
        if let Event::Step(step) = event {
            steps.push(step.latents);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(last.unwrap().into_data(), steps.last().unwrap().to_data());
    steps
}

#[test]
fn latents_become_the_image_of_the_reference() {
    let device = Device::flex();
    for (fixture, layout) in in_both_layouts() {
        let model = fixture.open(layout).unwrap();
        let decoder = model.autoencoder().load_decoder(&Loading::new(Precision::f32(), &device)).unwrap();
        let latents = fixture.tensor(&format!("latents_{}", fixture.run.steps));
        let found = to_unit_range(decoder.decode(latents, Tiling::Whole));
        assert_close(&format!("{fixture} image, {layout:?}"), found, fixture.tensor("image"), TOLERANCE);
    }
}

/// Images as the reference has them: [0, 1], clamped.
fn to_unit_range(images: Tensor<4>) -> Tensor<4> {
    (images * 0.5 + 0.5).clamp(0.0, 1.0)
}

#[test]
fn a_prompt_becomes_the_image_of_the_reference() {
    for (fixture, layout) in in_both_layouts() {
        let mut pipeline = fixture.pipeline_in(layout);
        let settings = fixture.settings();
        let prompt = pipeline.encode_prompt(&fixture.run.prompt, &fixture.run.negative_prompt, &settings, &mut ignore).unwrap();
        let start = Start::from_noise(fixture.tensor("noise"));
        let latents = pipeline.denoise(&prompt, &start, &settings, &mut ignore).unwrap();
        let expected = fixture.tensor(&format!("latents_{}", fixture.run.steps));
        assert_close(&format!("{fixture} latents from the prompt, {layout:?}"), latents.clone(), expected, TOLERANCE);

        let image = pipeline.decode(latents, Tiling::Whole, &mut ignore).unwrap().remove(0);
        assert_eq!((image.width, image.height), (settings.width, settings.height));
        let reference = fixture.tensor::<4>("image").permute([0, 2, 3, 1]).into_data();
        let levels = reference.iter::<f32>().map(|value| value * 255.0);
        // Half a level of rounding, and a little for values that sit on its edge.
        let worst = image.pixels.iter().zip(levels).map(|(&found, expected)| (f32::from(found) - expected).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst <= 0.51, "{fixture}, {layout:?}: a pixel is {worst} levels off");
    }
}

#[test]
fn the_miniature_draws_the_image_of_the_reference() {
    let device = Device::flex();
    let model = common::fixture("../diffusion-app/assets/mini-sd3");
    let reference = Fixture::new("mini-sd3-reference");
    let mut pipeline = pipeline(&model, &ComponentPaths::new());
    let settings = reference.settings();
    let defaults = pipeline.default_settings();
    assert_eq!(
        (defaults.width, defaults.height, defaults.max_sequence_length),
        (settings.width, settings.height, settings.max_sequence_length)
    );

    let noise = pipeline.noise(&[reference.run.seed], &settings);
    assert_close("noise of the seed", noise.clone(), reference.tensor("noise"), 1e-6);
    let prompt = pipeline.encode_prompt(&reference.run.prompt, &reference.run.negative_prompt, &settings, &mut ignore).unwrap();
    let mut steps = Vec::new();
    let last = pipeline.denoise(&prompt, &Start::from_seeds(&[reference.run.seed]), &settings, &mut |event| {
        if let Event::Step(step) = event {
            steps.push(step.latents);
        }
        ControlFlow::Continue(())
    });
    last.unwrap();
    for step in [1, 10, 20] {
        let name = format!("latents_{step}");
        assert_close(&name, steps[step - 1].clone(), reference.tensor(&name), WHOLE_RUN_TOLERANCE);
    }
    let decoder = pipeline.model().autoencoder().load_decoder(&Loading::new(Precision::f32(), &device)).unwrap();
    let image = to_unit_range(decoder.decode(reference.tensor("latents_20"), Tiling::Whole));
    assert_close("image", image, reference.tensor("image"), TOLERANCE);
}

#[test]
fn freed_text_encoders_are_loaded_again() {
    let fixture = Fixture::new("sd3");
    let settings = fixture.settings();
    let encode = |pipeline: &mut Pipeline, text: &str| {
        let prompt = pipeline.encode_prompt(text, "", &settings, &mut ignore).unwrap().positive;
        (prompt.tokens.into_data(), prompt.pooled.into_data())
    };
    let expected = encode(&mut fixture.pipeline(), &fixture.run.prompt);
    let mut pipeline = fixture.pipeline();
    encode(&mut pipeline, "another text");
    pipeline.free_prompt_encoder();
    assert!(!pipeline.has_prompt_encoder());
    assert_eq!(encode(&mut pipeline, &fixture.run.prompt), expected);
    assert!(pipeline.has_prompt_encoder());
}

#[test]
fn a_missing_text_encoder_counts_as_zeros() {
    let device = Device::flex();
    let fixture = Fixture::new("sd3-large");
    let whole = fixture.prompt().positive;
    let [clip_len, clip_l, clip_g] = [24, 22, 30];
    let without = |missing: ComponentId| {
        let there = fixture.text_encoders().into_iter().filter(|(id, _)| *id != missing);
        let paths = there.fold(ComponentPaths::new().with_config(fixture.path("")), |paths, (id, path)| paths.with(id, path));
        let model = open_model(&fixture.path("original.safetensors"), &paths).unwrap();
        let encoders = typed::<Sd3Model>(&*model).load_text_encoders(&Loading::new(Precision::f32(), &device)).unwrap();
        encoders.encode(&fixture.run.prompt, fixture.run.max_sequence_length).unwrap().conditioning
    };
    let zeroed = |tokens: std::ops::Range<usize>, channels: std::ops::Range<usize>| {
        let silence = Tensor::zeros([1, tokens.len(), channels.len()], &device);
        whole.tokens.clone().slice_assign([0..1, tokens, channels], silence)
    };
    let [_, text_len, width] = whole.tokens.dims();

    let without_t5 = without(T5XXL);
    assert_close("text without T5", without_t5.tokens, zeroed(clip_len..text_len, 0..width), TOLERANCE);
    assert_close("pooled without T5", without_t5.pooled, whole.pooled.clone(), TOLERANCE);
    let without_g = without(CLIP_G);
    assert_close("text without CLIP-G", without_g.tokens, zeroed(0..clip_len, clip_l..clip_l + clip_g), TOLERANCE);
    let without_l = without(CLIP_L);
    assert_close("text without CLIP-L", without_l.tokens, zeroed(0..clip_len, 0..clip_l), TOLERANCE);
    let pooled = whole.pooled.slice_assign([0..1, 0..clip_l], Tensor::zeros([1, clip_l], &device));
    assert_close("pooled without CLIP-L", without_l.pooled, pooled, TOLERANCE);
}
