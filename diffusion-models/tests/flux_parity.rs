//! FLUX.1 against diffusers, stage by stage, from a diffusers folder and from a single file.
//!
//! Fixtures and their generator: `fixtures/README.md`.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{Device, FloatDType, Tensor};
use common::{assert_close, manifest, write_hollow};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::{Precision, Residency};
use diffusion_models::flux::{FluxConditioning, FluxConfig, FluxFiles, FluxPipeline};
use diffusion_models::{ModelParts, PipelineError, Prompt, Settings, Tiling};
use fixture::Fixture;

/// Both sides compute in f32 from the same stored values and sum in different orders, which shows at 1e-6; a weight in the
/// wrong place shows above 2e-4 (`fixtures/README.md`).
const TOLERANCE: f64 = 1e-4;

/// Sigmas of the reference are rounded to f32.
const SIGMA_TOLERANCE: f64 = 1e-6;

const TRUE_CFG_SCALE: f64 = 2.0;

/// Every fixture with the paths it lies at: the folder, and a single file with the folder's configurations.
fn in_all_layouts() -> Vec<(Fixture, PathBuf, ModelParts)> {
    let folder = |name| (Fixture::new(name), common::fixture(name), ModelParts::default());
    let parts = ModelParts { config: Some(common::fixture("flux-dev")), ..ModelParts::default() };
    let single_file = (Fixture::new("flux-dev"), common::fixture("flux-dev").join("original.safetensors"), parts);
    vec![folder("flux-dev"), folder("flux-schnell"), single_file]
}

fn pipeline(path: &std::path::Path, parts: &ModelParts) -> FluxPipeline {
    FluxPipeline::open(path, parts, Precision::f32(), &Device::flex()).unwrap()
}

fn prompt(fixture: &Fixture, settings: &Settings) -> Prompt<FluxConditioning> {
    let encoded = |sign: &str| FluxConditioning {
        text: fixture.tensor(&format!("{sign}prompt_embeds")),
        pooled: fixture.tensor(&format!("{sign}pooled_prompt_embeds")),
        distilled_guidance: settings.guidance_scale,
    };
    Prompt { positive: encoded(""), negative: Some(encoded("negative_")) }
}

#[test]
fn prompts_become_the_token_ids_and_embeddings_of_the_reference() {
    let device = Device::flex();
    for (fixture, path, parts) in in_all_layouts() {
        let encoders = FluxFiles::open(&path, &parts).unwrap();
        let encoders = encoders.load_text_encoders(Precision::f32(), Residency::Resident, &device).unwrap();
        let (clip_l, _) = encoders.clip_l.as_ref().unwrap();
        let (t5, _) = encoders.t5.as_ref().unwrap();
        assert_eq!(clip_l.encode(&fixture.run.prompt, clip_l.max_length()).unwrap().ids, fixture.token_ids(1), "{fixture}");
        let t5_ids = t5.encode(&fixture.run.prompt, fixture.run.max_sequence_length).unwrap().ids;
        assert_eq!(t5_ids, fixture.token_ids(2), "{fixture}");
        for (text, sign) in [(&fixture.run.prompt, ""), (&fixture.run.negative_prompt, "negative_")] {
            let found = encoders.encode(text, &fixture.settings(), &device).unwrap();
            let expected = fixture.tensor(&format!("{sign}prompt_embeds"));
            assert_close(&format!("{fixture} {sign}prompt_embeds"), found.text, expected, TOLERANCE);
            let expected = fixture.tensor(&format!("{sign}pooled_prompt_embeds"));
            assert_close(&format!("{fixture} {sign}pooled_prompt_embeds"), found.pooled, expected, TOLERANCE);
        }
    }
}

#[test]
fn the_first_velocity_is_that_of_the_reference_resident_and_streamed() {
    let device = Device::flex();
    for (fixture, path, parts) in in_all_layouts() {
        for residency in [Residency::Resident, Residency::Streamed] {
            let files = FluxFiles::open(&path, &parts).unwrap();
            let transformer = files.load_transformer(Precision::f32(), residency, &device).unwrap();
            let positive = prompt(&fixture, &fixture.settings()).positive;
            let found = transformer.forward(fixture.tensor("noise"), 1.0, &positive);
            assert_close(&format!("{fixture} velocity_0, {residency:?}"), found, fixture.tensor("velocity_0"), TOLERANCE);
        }
    }
}

#[test]
fn latents_of_every_step_are_those_of_the_reference() {
    for (fixture, path, parts) in in_all_layouts() {
        let settings = fixture.settings();
        let expected: Vec<f64> = fixture.tensor::<1>("sigmas").into_data().iter::<f64>().collect();
        let mut sigmas = vec![1.0];
        let mut pipeline = pipeline(&path, &parts);
        let last = pipeline.denoise(&prompt(&fixture, &settings), fixture.tensor("noise"), &settings, &mut |step| {
            let name = format!("latents_{}", step.index + 1);
            assert_close(&format!("{fixture} {name}"), step.latents, fixture.tensor(&name), TOLERANCE);
            sigmas.push(step.sigma);
            ControlFlow::Continue(())
        });
        last.unwrap();
        let close = sigmas.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() <= SIGMA_TOLERANCE);
        assert!(close && sigmas.len() == expected.len(), "{fixture}: found {sigmas:?}, expected {expected:?}");
    }
}

#[test]
fn true_guidance_gives_the_latents_of_the_reference() {
    for (fixture, path, parts) in in_all_layouts() {
        let settings = Settings { true_cfg_scale: TRUE_CFG_SCALE, ..fixture.settings() };
        let latents =
            pipeline(&path, &parts)
                .denoise(&prompt(&fixture, &settings), fixture.tensor("noise"), &settings, &mut |_| ControlFlow::Continue(()));
        assert_close(&format!("{fixture} true_cfg_latents"), latents.unwrap(), fixture.tensor("true_cfg_latents"), TOLERANCE);
    }
}

#[test]
fn latents_become_the_picture_of_the_reference() {
    let device = Device::flex();
    for (fixture, path, parts) in in_all_layouts() {
        let decoder = FluxFiles::open(&path, &parts).unwrap().load_decoder(Precision::f32(), &device).unwrap();
        let images = decoder.decode(fixture.tensor(&format!("latents_{}", fixture.run.steps)), Tiling::Whole);
        let found: Tensor<4> = (images * 0.5 + 0.5).clamp(0.0, 1.0);
        assert_close(&format!("{fixture} image"), found, fixture.tensor("image"), TOLERANCE);
    }
}

/// Both layouts of the published transformers, without prefix, as files that take no space.
fn published(model: &str) -> Vec<(String, tempfile::TempDir, Checkpoint)> {
    let open = |layout: &str| {
        let list = format!("{model}.transformer.{layout}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_hollow(&path, &manifest(&list));
        let checkpoint = Checkpoint::open(&path).unwrap();
        (list, folder, checkpoint)
    };
    ["diffusers", "original"].map(open).into()
}

#[test]
fn published_transformers_fit_to_the_last_name_and_shape() {
    let wider = |in_channels| FluxConfig { in_channels, ..FluxConfig::dev() };
    let models = [
        ("flux1-dev", FluxConfig::dev()),
        ("flux1-schnell", FluxConfig::schnell()),
        ("flux1-canny-dev", wider(128)),
        ("flux1-fill-dev", wider(384)),
    ];
    for (model, config) in models {
        for (list, _folder, checkpoint) in published(model) {
            assert_eq!(FluxConfig::from_checkpoint(&checkpoint).as_ref(), Some(&config), "{list}");
            let renamed = config.rename(checkpoint).unwrap();
            let module = config.init(FloatDType::F32, &Device::flex());
            renamed.check(&module).unwrap_or_else(|error| panic!("{list}: {error}"));
        }
    }
}

#[test]
fn models_for_other_pipelines_are_refused_by_name() {
    for (model, name) in [("flux1-canny-dev", "Canny or Depth"), ("flux1-fill-dev", "Fill")] {
        for (list, folder, _) in published(model) {
            let error = FluxFiles::open(&folder.path().join("model.safetensors"), &ModelParts::default()).unwrap_err();
            assert!(matches!(error, PipelineError::OtherModel { .. }) && error.to_string().contains(name), "{list}: {error}");
        }
    }
}

#[test]
fn a_bare_transformer_names_the_part_that_is_missing_and_its_option() {
    for (list, folder, _) in published("flux1-dev") {
        let error = FluxFiles::open(&folder.path().join("model.safetensors"), &ModelParts::default()).unwrap_err();
        assert!(error.to_string().contains("--clip-l"), "{list}: {error}");
    }
}

#[test]
fn a_model_of_the_other_family_is_refused() {
    let parts = ModelParts::default();
    let error = FluxFiles::open(&common::fixture("sd3"), &parts).unwrap_err().to_string();
    assert!(error.contains("StableDiffusion3Pipeline") && error.contains("FluxPipeline"), "{error}");
    let error = FluxFiles::open(&common::fixture("sd3/original.safetensors"), &parts).unwrap_err().to_string();
    assert!(error.contains("Stable Diffusion 3") && error.contains("FLUX.1"), "{error}");
}

#[test]
fn plans_count_every_part_and_streaming_takes_less() {
    let fixture = Fixture::new("flux-dev");
    let pipeline = pipeline(&common::fixture("flux-dev"), &ModelParts::default());
    let plan = pipeline.plan(&fixture.settings());
    let names: Vec<&str> = plan.parts.iter().map(|part| part.name).collect();
    assert_eq!(names, ["CLIP-L", "T5", "transformer", "autoencoder"]);
    let transformer = Checkpoint::open(&common::fixture("flux-dev/transformer")).unwrap();
    assert_eq!(plan.parts[2].weights, transformer.num_bytes());
    assert!(plan.parts[2].weights_streamed < plan.parts[2].weights);
}
