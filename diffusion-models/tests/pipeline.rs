//! What a pipeline promises whoever holds it: to tell what it does, to stop when asked, and to stay usable.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::fs;
use std::ops::ControlFlow;

use burn::tensor::Device;
use common::copy_folder;
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::{Precision, Residency};
use diffusion_models::components::{CLIP_L, T5XXL, TRANSFORMER, VAE};
use diffusion_models::{
    ComponentPaths, Event, InitImage, Pipeline, PipelineError, PipelineOptions, Request, SettingError, Settings, Start, Tiling,
    ignore,
};
use diffusion_schedulers::kind::SamplerKind;
use fixture::{Fixture, pipeline};
use tempfile::TempDir;

fn request(fixture: &Fixture) -> Request {
    Request { seeds: vec![3, 4], settings: fixture.settings(), ..Request::new("a lighthouse") }
}

/// A folder of its own with a copy of a fixture's.
fn copy_of(fixture: &Fixture) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture.path(""), folder.path());
    folder
}

/// A short name of an event.
fn name(event: &Event) -> String {
    match event {
        Event::Loading { component, done, total, .. } => {
            assert!(done <= total && *total > 0, "{component}: {done} of {total}");
            format!("loading {}", component.name())
        }
        Event::Encoded { done, total, .. } => format!("encoded {done} of {total}"),
        Event::Step(step) => format!("step {}", step.index + 1),
        Event::Decoded { done, total } => format!("decoded {done} of {total}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_observer_hears_of_every_stage_in_its_order() {
    let fixture = Fixture::new("flux-dev");
    let mut heard = Vec::new();
    let mut observer = |event: Event| {
        heard.push(name(&event));
        ControlFlow::Continue(())
    };
    fixture.pipeline().generate(&request(&fixture), &mut observer).unwrap();
    heard.dedup();
    let steps = (1..=fixture.run.steps).map(|step| format!("step {step}"));
    let before = ["loading clip_l", "loading t5xxl", "encoded 1 of 1", "loading transformer"].map(str::to_owned);
    let after = ["loading vae", "decoded 1 of 2", "decoded 2 of 2"].map(str::to_owned);
    assert_eq!(heard, before.into_iter().chain(steps).chain(after).collect::<Vec<_>>());
}

#[test]
fn an_observer_cancels_in_every_stage_and_the_pipeline_stays_usable() {
    let fixture = Fixture::new("sd3");
    let request = request(&fixture);
    let expected = fixture.pipeline().generate(&request, &mut ignore).unwrap();
    for stage in ["loading clip_g", "encoded 1 of 1", "loading transformer", "step 2", "loading vae", "decoded 1 of 2"] {
        let mut pipeline = fixture.pipeline();
        let mut last = String::new();
        let result = pipeline.generate(&request, &mut |event| {
            last = name(&event);
            if last == stage { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let error = result.unwrap_err();
        assert_eq!(last, stage, "{error}");
        let said = error.to_string();
        let during = if stage.starts_with("loading") {
            "cancelled while loading"
        } else if stage.starts_with("encoded") {
            "cancelled while encoding prompts"
        } else if stage.starts_with("step") {
            "cancelled after step 2 of 5"
        } else {
            "cancelled while decoding"
        };
        assert_eq!(said, during, "{stage}");
        assert!(error.is_cancelled(), "{stage}");
        assert!(pipeline.generate(&request, &mut ignore).unwrap() == expected, "after {stage}");
    }
}

#[test]
fn loading_the_encoder_of_an_init_image_can_be_cancelled() {
    let fixture = Fixture::new("sd3");
    let settings = fixture.settings();
    let pixels = vec![90; 3 * settings.width * settings.height];
    let image = diffusion_core::image::RgbImage { width: settings.width, height: settings.height, pixels };
    let pipeline = fixture.pipeline();
    let mut cancel = |event: Event| {
        assert_eq!(name(&event), "loading vae");
        ControlFlow::Break(())
    };
    let error = pipeline.encode_init_image(&InitImage::new(image.clone(), 0.5), &mut cancel).unwrap_err();
    assert!(matches!(error, PipelineError::Cancelled { .. }), "{error}");
    pipeline.encode_init_image(&InitImage::new(image, 0.5), &mut ignore).unwrap();
}

#[test]
fn an_init_image_of_another_size_than_the_request_is_refused() {
    let fixture = Fixture::new("sd3");
    let image = diffusion_core::image::RgbImage { width: 16, height: 16, pixels: vec![0; 3 * 16 * 16] };
    let request = Request { init: Some(InitImage::new(image, 0.5)), ..request(&fixture) };
    let error = fixture.pipeline().generate(&request, &mut ignore).unwrap_err();
    assert!(matches!(error, PipelineError::Setting(SettingError { setting: "init image", .. })), "{error}");
}

/// A component whose file is cut while it is not loaded is named; once the file is whole again, the pipeline draws.
#[test]
fn a_file_that_is_written_to_after_it_was_opened_is_told_and_the_pipeline_stays_usable() {
    let fixture = Fixture::new("sd3");
    let request = request(&fixture);
    let expected = fixture.pipeline().generate(&request, &mut ignore).unwrap();
    for file in [
        "text_encoder/model.safetensors",
        "text_encoder_3/model.safetensors",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ] {
        for residency in [Residency::Resident, Residency::Streamed] {
            let folder = copy_of(&fixture);
            let mut pipeline = pipeline(folder.path(), &ComponentPaths::new());
            pipeline.set_residency(residency);
            let path = folder.path().join(file);
            let whole = fs::read(&path).unwrap();
            let before = fs::metadata(&path).unwrap().modified().unwrap();
            // As writers in place do: the same file, cut.
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole.len() as u64 / 2).unwrap();
            let error = pipeline.generate(&request, &mut ignore).unwrap_err();
            let changed = matches!(error, PipelineError::Checkpoint(CheckpointError::Changed { .. }));
            assert!(changed && error.to_string().contains(file.split('/').next_back().unwrap()), "{file}: {error}");

            fs::write(&path, &whole).unwrap();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(before).unwrap();
            assert!(pipeline.generate(&request, &mut ignore).unwrap() == expected, "{file}, {residency:?}");
        }
    }
}

/// Streamed weights are read in every step, so that the file is needed for the whole run.
#[test]
fn a_file_that_is_cut_while_its_weights_are_streamed_ends_the_run_with_an_error() {
    let fixture = Fixture::new("flux-dev");
    let folder = copy_of(&fixture);
    let path = folder.path().join("transformer/diffusion_pytorch_model.safetensors");
    for residency in [Residency::Resident, Residency::Streamed] {
        let mut pipeline = pipeline(folder.path(), &ComponentPaths::new());
        pipeline.set_residency(residency);
        let settings = fixture.settings();
        let whole = fs::read(&path).unwrap();
        let result = pipeline.denoise(&fixture.prompt(), &Start::from_seeds(&[1]), &settings, &mut |event| {
            if matches!(event, Event::Step(_)) {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
            }
            ControlFlow::Continue(())
        });
        let error = result.unwrap_err();
        assert!(matches!(error, PipelineError::Checkpoint(CheckpointError::Changed { .. })), "{residency:?}: {error}");
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn distilled_guidance_costs_no_memory() {
    let fixture = Fixture::new("flux-dev");
    let pipeline = fixture.pipeline();
    let plan = |settings: Settings| pipeline.plan(&settings, 1);
    let without = plan(Settings { distilled_guidance: Some(0.0), ..fixture.settings() });
    assert_eq!(plan(Settings { distilled_guidance: Some(3.5), ..fixture.settings() }), without);
    let guided = plan(Settings { guidance_scale: 3.5, ..fixture.settings() });
    let working = |plan: &diffusion_models::Plan| plan.component(TRANSFORMER).unwrap().working;
    assert!(working(&guided) > working(&without));
}

#[test]
fn plans_grow_with_the_batch() {
    let fixture = Fixture::new("sd3");
    let pipeline = fixture.pipeline();
    let working = |batch| pipeline.plan(&fixture.settings(), batch).component(TRANSFORMER).unwrap().working;
    assert!(working(4) > 2 * working(1), "{} and {}", working(4), working(1));
}

#[test]
fn passes_of_guidance_are_one_batch_where_both_fit_at_once() {
    use diffusion_core::Residency::{self, Resident, Streamed};
    use diffusion_models::GuidanceEvaluation::{self, Batched, Sequential};
    let fixture = Fixture::new("sd3");
    let pipeline = fixture.pipeline();
    // So many images that the network's activations count for more than the decoder's.
    let (settings, batch) = (Settings { width: 1024, height: 1024, ..fixture.settings() }, 1000);
    let evaluated = |evaluation| {
        let mut settings = settings.clone();
        settings.guidance.evaluation = evaluation;
        settings
    };
    let [both, one] = [Batched, Sequential].map(|evaluation| pipeline.plan(&evaluated(evaluation), batch));
    assert!(one.peak_streamed < one.peak_resident && one.peak_resident < both.peak_streamed, "{one}\n{both}");
    let fits = |available: usize, residency: Option<Residency>| -> GuidanceEvaluation {
        pipeline.guidance_that_fits(&settings, batch, available, residency)
    };
    assert_eq!(fits(both.peak_resident, None), Batched);
    assert_eq!(fits(both.peak_resident - 1, None), Sequential);
    assert_eq!(fits(both.peak_resident - 1, Some(Resident)), Sequential);
    assert_eq!(fits(both.peak_streamed, Some(Streamed)), Batched);
    assert_eq!(fits(both.peak_streamed - 1, Some(Streamed)), Sequential);
    // What nothing helps is not made slower for it.
    let unguided = Settings { guidance_scale: 1.0, ..settings.clone() };
    assert_eq!(pipeline.guidance_that_fits(&unguided, batch, 0, None), Batched);
    assert_eq!(pipeline.guidance_that_fits(&evaluated(Sequential), batch, usize::MAX, None), Sequential);
}

#[test]
fn tiles_are_decoded_at_once_where_memory_suffices_for_each() {
    let fixture = Fixture::new("sd3");
    let pipeline = fixture.pipeline();
    let settings = Settings { tiling: Tiling::Tiled, ..fixture.settings() };
    let plan = pipeline.plan(&settings, 1);
    let weights: usize = plan.components.iter().map(|component| component.weights).sum();
    let tile = plan.component(VAE).unwrap().working;
    let threads = std::thread::available_parallelism().unwrap().get();
    let fit = |available| pipeline.tiles_that_fit(&settings, available);
    assert_eq!([0, weights + 2 * tile - 1].map(fit), [1, 1]);
    assert_eq!(fit(weights + 2 * tile), threads.min(2));
    assert_eq!(fit(usize::MAX), threads.min(2).max(threads / 8));
    assert_eq!(pipeline.tiles_that_fit(&fixture.settings(), usize::MAX), 1);
}

/// A scale is no part of an encoded prompt.
#[test]
fn another_scale_loads_no_text_encoder() {
    let scales =
        [("sd3", [2.0, 7.0], None), ("flux-dev", [1.0, 1.0], Some([1.0, 3.5])), ("flux-dev", [2.0, 3.0], Some([3.5, 3.5]))];
    for (name, guidance, distilled) in scales {
        let fixture = Fixture::new(name);
        let mut pipeline = fixture.pipeline();
        for index in 0..2 {
            let distilled_guidance = distilled.map(|scales| scales[index]);
            let settings = Settings { guidance_scale: guidance[index], distilled_guidance, ..fixture.settings() };
            pipeline.encode_prompt("a lighthouse", "fog", &settings, &mut ignore).unwrap();
            assert_eq!(pipeline.has_prompt_encoder(), index == 0, "{name}");
            pipeline.free_prompt_encoder();
        }
    }
}

#[test]
fn what_an_encoder_does_not_see_of_a_prompt_is_returned() {
    let fixture = Fixture::new("flux-dev");
    let (mut pipeline, settings) = (fixture.pipeline(), fixture.settings());
    let long = "lighthouse ".repeat(200);
    let prompts = pipeline.encode_prompts(&["short", &long], "", &settings, &mut ignore).unwrap();
    assert!(prompts[0].truncated.is_empty());
    let mut truncated: Vec<_> = prompts[1].truncated.iter().map(|truncation| truncation.component).collect();
    truncated.sort_unstable();
    assert_eq!(truncated, [CLIP_L, T5XXL]);
    for truncation in &prompts[1].truncated {
        assert!(long.contains(truncation.rest.trim()) && truncation.to_string().contains("does not see the end"), "{truncation}");
    }
    let mut heard = Vec::new();
    pipeline
        .encode_prompt(&long, "", &settings, &mut |event| {
            if let Event::Encoded { truncated, .. } = event {
                heard = truncated;
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(heard, prompts[1].truncated);
    // Kept texts return it again.
    assert_eq!(pipeline.encode_prompt(&long, "", &settings, &mut ignore).unwrap().truncated, prompts[1].truncated);
}

#[test]
fn guidance_needs_a_prompt_that_was_encoded_for_it() {
    let fixture = Fixture::new("sd3");
    let mut pipeline = fixture.pipeline();
    let unguided = Settings { guidance_scale: 1.0, ..fixture.settings() };
    let prompt = pipeline.encode_prompt("a lighthouse", "fog", &unguided, &mut ignore).unwrap();
    let error = pipeline.denoise(&prompt, &Start::from_seeds(&[1]), &fixture.settings(), &mut ignore).unwrap_err().to_string();
    assert!(error.contains("guidance scale is") && error.contains("no negative prompt"), "{error}");
}

#[test]
fn a_request_without_seeds_is_refused_before_any_work() {
    let fixture = Fixture::new("sd3");
    let request = Request { seeds: vec![], ..request(&fixture) };
    let error = fixture.pipeline().generate(&request, &mut |event| panic!("{event:?}")).unwrap_err().to_string();
    assert!(error.contains("number of seeds is 0, expected at least 1"), "{error}");
}

#[test]
fn settings_survive_being_stored() {
    let settings = Settings {
        width: 512,
        sampler: SamplerKind::DpmPp2M,
        shift: Some("dynamic".parse().unwrap()),
        distilled_guidance: Some(2.5),
        tiling: Tiling::Tiled,
        ..Settings::default()
    };
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings, "{json}");
    // What is not said is the default, and what is not known is refused.
    assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    let error = serde_json::from_str::<Settings>(r#"{"guidance_strength": 3}"#).unwrap_err().to_string();
    assert!(error.contains("guidance_strength"), "{error}");
}

#[test]
fn settings_of_another_kind_of_model_are_refused() {
    for name in ["sd3", "flux-schnell"] {
        let fixture = Fixture::new(name);
        let settings = Settings { distilled_guidance: Some(3.5), ..fixture.settings() };
        let error = fixture.pipeline().check(&settings).unwrap_err();
        assert!(error.to_string().contains("distilled guidance is 3.5, expected none"), "{error}");
    }
}

#[test]
fn a_component_that_the_family_has_not_is_refused() {
    let paths = ComponentPaths::new().with(diffusion_models::components::CLIP_G, "clip_g.safetensors");
    let options = PipelineOptions { components: paths, precision: Precision::f32(), ..PipelineOptions::new(&Device::flex()) };
    let error = Pipeline::open(&common::fixture("flux-dev"), &options).unwrap_err().to_string();
    assert!(error.contains("FLUX.1") && error.contains("CLIP-G"), "{error}");
}

#[test]
fn a_model_tells_its_components_in_the_order_in_which_they_work() {
    let fixture = Fixture::new("flux-dev");
    let pipeline = fixture.pipeline();
    let components: Vec<_> = pipeline.model().components().iter().map(|file| file.component().id).collect();
    assert_eq!(components, [CLIP_L, T5XXL, TRANSFORMER, VAE]);
}
