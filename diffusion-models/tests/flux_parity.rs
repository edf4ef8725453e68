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
use diffusion_core::{Loading, Precision, Residency, weights};
use diffusion_models::flux::{FluxConfig, FluxModel};
use diffusion_models::{
    ComponentPaths, DenoiserInput, Event, NetworkConfig, PipelineError, PromptEncoder, Settings, Start, Tiling, components,
    ignore, open_model,
};
use fixture::{Fixture, pipeline, typed, velocity_of};

/// Both sides compute in f32 from the same stored values and sum in different orders, which shows at 1e-6; a weight in the
/// wrong place shows above 2e-4 (`fixtures/README.md`).
const TOLERANCE: f64 = 1e-4;

/// Sigmas of the reference are rounded to f32.
const SIGMA_TOLERANCE: f64 = 1e-6;

const TRUE_CFG_SCALE: f64 = 2.0;

/// Every fixture with the paths it lies at: the folder, and a single file with the folder's configurations.
fn in_all_layouts() -> Vec<(Fixture, PathBuf, ComponentPaths)> {
    let folder = |name| (Fixture::new(name), common::fixture(name), ComponentPaths::new());
    let paths = ComponentPaths::new().with_config(common::fixture("flux-dev"));
    let single_file = (Fixture::new("flux-dev"), common::fixture("flux-dev").join("original.safetensors"), paths);
    vec![folder("flux-dev"), folder("flux-schnell"), single_file]
}

#[test]
fn prompts_become_the_token_ids_and_embeddings_of_the_reference() {
    let device = Device::flex();
    for (fixture, path, paths) in in_all_layouts() {
        let model = open_model(&path, &paths).unwrap();
        let encoders = typed::<FluxModel>(&*model).load_text_encoders(&Loading::new(Precision::f32(), &device)).unwrap();
        let (clip_l, _) = encoders.clip_l.as_ref().unwrap();
        let (t5, _) = encoders.t5.as_ref().unwrap();
        assert_eq!(clip_l.encode(&fixture.run.prompt, clip_l.max_length()).unwrap().ids, fixture.token_ids(1), "{fixture}");
        let t5_ids = t5.encode(&fixture.run.prompt, fixture.run.max_sequence_length).unwrap().ids;
        assert_eq!(t5_ids, fixture.token_ids(2), "{fixture}");
        for (text, sign) in [(&fixture.run.prompt, ""), (&fixture.run.negative_prompt, "negative_")] {
            let found = encoders.encode(text, fixture.run.max_sequence_length).unwrap().conditioning;
            let expected = fixture.tensor(&format!("{sign}prompt_embeds"));
            assert_close(&format!("{fixture} {sign}prompt_embeds"), found.tokens, expected, TOLERANCE);
            let expected = fixture.tensor(&format!("{sign}pooled_prompt_embeds"));
            assert_close(&format!("{fixture} {sign}pooled_prompt_embeds"), found.pooled, expected, TOLERANCE);
        }
    }
}

#[test]
fn the_first_velocity_is_that_of_the_reference_resident_and_streamed() {
    let device = Device::flex();
    for (fixture, path, paths) in in_all_layouts() {
        for residency in [Residency::Resident, Residency::Streamed] {
            let loading = Loading::new(Precision::f32(), &device).with_residency(residency);
            let model = open_model(&path, &paths).unwrap();
            let transformer = typed::<FluxModel>(&*model).load_transformer(&loading).unwrap();
            let (conditioning, distilled_guidance) = (&fixture.prompt().positive, fixture.settings().distilled_guidance);
            let input = DenoiserInput {
                latents: fixture.tensor("noise"),
                sigmas: &[1.0],
                conditioning,
                distilled_guidance,
                modulations: None,
            };
            let found = velocity_of(&transformer, &input);
            assert_close(&format!("{fixture} velocity_0, {residency:?}"), found, fixture.tensor("velocity_0"), TOLERANCE);
        }
    }
}

#[test]
fn latents_of_every_step_are_those_of_the_reference() {
    for (fixture, path, paths) in in_all_layouts() {
        let settings = fixture.settings();
        let expected: Vec<f64> = fixture.tensor::<1>("sigmas").into_data().iter::<f64>().collect();
        let mut sigmas = vec![1.0];
        let mut pipeline = pipeline(&path, &paths);
        let start = Start::from_noise(fixture.tensor("noise"));
        let last = pipeline.denoise(&fixture.prompt(), &start, &settings, &mut |event| {
            if let Event::Step(step) = event {
                let name = format!("latents_{}", step.index + 1);
                assert_close(&format!("{fixture} {name}"), step.latents, fixture.tensor(&name), TOLERANCE);
                sigmas.push(step.sigma);
            }
            ControlFlow::Continue(())
        });
        last.unwrap();
        let close = sigmas.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() <= SIGMA_TOLERANCE);
        assert!(close && sigmas.len() == expected.len(), "{fixture}: found {sigmas:?}, expected {expected:?}");
    }
}

#[test]
fn classifier_free_guidance_gives_the_latents_of_the_reference() {
    for (fixture, path, paths) in in_all_layouts() {
        let settings = Settings { guidance_scale: TRUE_CFG_SCALE, ..fixture.settings() };
        let start = Start::from_noise(fixture.tensor("noise"));
        let latents = pipeline(&path, &paths).denoise(&fixture.prompt(), &start, &settings, &mut ignore);
        assert_close(&format!("{fixture} true_cfg_latents"), latents.unwrap(), fixture.tensor("true_cfg_latents"), TOLERANCE);
    }
}

#[test]
fn latents_become_the_image_of_the_reference() {
    let device = Device::flex();
    for (fixture, path, paths) in in_all_layouts() {
        let model = open_model(&path, &paths).unwrap();
        let decoder = model.autoencoder().load_decoder(&Loading::new(Precision::f32(), &device)).unwrap();
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
            weights::check(&renamed, &module).unwrap_or_else(|error| panic!("{list}: {error}"));
        }
    }
}

/// Flex.1-alpha and FLUX.1 Lite have 8 double blocks in place of 19.
#[test]
fn finetunes_with_fewer_blocks_tell_so_by_their_names_and_by_their_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let is_kept = |name: &str| {
        let number =
            ["double_blocks.", "transformer_blocks."].iter().find_map(|blocks| name.strip_prefix(blocks)?.split('.').next());
        number.is_none_or(|number| number.parse::<usize>().unwrap() < 8)
    };
    let expected = FluxConfig { num_double_layers: 8, ..FluxConfig::dev() };
    for layout in ["original", "diffusers"] {
        let path = folder.path().join(layout);
        let mut tensors = manifest(&format!("flux1-dev.transformer.{layout}"));
        tensors.retain(|name, _| is_kept(name));
        write_hollow(&path, &tensors);
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(FluxConfig::from_checkpoint(&checkpoint).as_ref(), Some(&expected), "{layout}");
        let module = expected.init(FloatDType::F32, &Device::flex());
        weights::check(&expected.rename(checkpoint).unwrap(), &module).unwrap_or_else(|error| panic!("{layout}: {error}"));
    }
    // As these repositories have it.
    let config = folder.path().join("config.json");
    let json = r#"{"in_channels": 64, "num_layers": 8, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128,
        "joint_attention_dim": 4096, "pooled_projection_dim": 768, "guidance_embeds": true, "axes_dims_rope": [16, 56, 56]}"#;
    std::fs::write(&config, json).unwrap();
    assert_eq!(FluxConfig::from_json(&config).unwrap(), expected);
}

#[test]
fn models_for_other_pipelines_are_refused_by_name() {
    for (model, name) in [("flux1-canny-dev", "Canny or Depth"), ("flux1-fill-dev", "Fill")] {
        for (list, folder, _) in published(model) {
            let error = open_model(&folder.path().join("model.safetensors"), &ComponentPaths::new()).unwrap_err();
            assert!(matches!(error, PipelineError::OtherModel { .. }) && error.to_string().contains(name), "{list}: {error}");
        }
    }
}

#[test]
fn a_bare_transformer_names_the_components_that_are_missing() {
    for (list, folder, _) in published("flux1-dev") {
        let error = open_model(&folder.path().join("model.safetensors"), &ComponentPaths::new()).unwrap_err();
        assert!(matches!(error, PipelineError::MissingComponent { .. }), "{list}: {error}");
        assert!(error.to_string().contains("CLIP-L, T5"), "{list}: {error}");
    }
}

#[test]
fn a_transformer_of_the_other_family_is_refused() {
    let other = common::fixture("sd3/transformer");
    let paths = ComponentPaths::new().with(components::TRANSFORMER, other);
    let error = open_model(&common::fixture("flux-dev"), &paths).unwrap_err().to_string();
    assert!(error.contains("Stable Diffusion 3") && error.contains("FLUX.1"), "{error}");
}

#[test]
fn plans_count_every_component_and_streaming_takes_less() {
    let fixture = Fixture::new("flux-dev");
    let pipeline = pipeline(&common::fixture("flux-dev"), &ComponentPaths::new());
    let plan = pipeline.plan(&fixture.settings(), 1);
    let names: Vec<&str> = plan.components.iter().map(|component| component.id.name()).collect();
    assert_eq!(names, ["clip_l", "t5xxl", "transformer", "vae"]);
    let transformer = Checkpoint::open(&common::fixture("flux-dev/transformer")).unwrap();
    let modulations = transformer.filtered(|name| name.contains("blocks.") && name.contains("norm") && name.contains(".linear."));
    assert!(5 * modulations.num_bytes() > transformer.num_bytes(), "{modulations:?}");
    assert_eq!(plan.components[2].weights, transformer.num_bytes() - modulations.num_bytes());
    assert!(plan.components[2].weights_streamed < plan.components[2].weights);
}
