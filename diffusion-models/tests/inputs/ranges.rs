//! Every number has a range, and what is outside of it is said before work is spent.

use diffusion_core::Sigmas;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_models::{
    Guidance, GuidanceMethod, InitImage, NoiseShift, Pipeline, PipelineError, Request, Settings, Start, StepCache, ignore,
};
use diffusion_schedulers::guidance::{GuidanceInterval, SkipLayerGuidance};
use diffusion_schedulers::kind::ScheduleKind;
use serde_json::json;

use super::{Folder, assert_says, text};
use crate::fixture::Fixture;

#[test]
fn numbers_of_configurations_have_ranges() {
    for (fixture, file, entry, value, words) in [
        ("sd3", "text_encoder_3/config.json", "layer_norm_epsilon", json!(0), "a number above 0, at most 1"),
        ("sd3", "text_encoder_3/config.json", "layer_norm_epsilon", json!(-1e-6), "layer_norm_epsilon is -0.000001"),
        ("sd3", "text_encoder_3/config.json", "layer_norm_epsilon", json!(1e-50), "a number above 0"),
        ("sd3", "text_encoder_3/config.json", "relative_attention_max_distance", json!(0), "1 to"),
        ("sd3", "text_encoder_3/config.json", "d_kv", json!(1_000_000), "num_heads times d_kv"),
        ("sd3", "text_encoder/config.json", "layer_norm_eps", json!(0), "layer_norm_eps is 0, expected a number above 0"),
        ("sd3", "text_encoder_2/config.json", "layer_norm_eps", json!(2), "at most 1"),
        ("sd3", "text_encoder/config.json", "eos_token_id", json!(740), "eos_token_id is 740, expected a token below"),
        ("sd3", "text_encoder/config.json", "num_attention_heads", json!(3), "a divisor of hidden_size"),
        ("sd3", "transformer/config.json", "sample_size", json!(0), "sample_size is 0, expected 1 to"),
        ("sd3", "transformer/config.json", "dual_attention_layers", json!([0, 99]), "dual_attention_layers is 99"),
        ("sd3", "transformer/config.json", "num_attention_heads", json!(1_000_000), "num_attention_heads times"),
        ("sd3", "vae/config.json", "scaling_factor", json!(0), "scaling_factor is 0, expected a number from 0.001 to 1000"),
        ("sd3", "vae/config.json", "scaling_factor", json!(-1.5), "scaling_factor is -1.5"),
        ("sd3", "vae/config.json", "shift_factor", json!(1e30), "shift_factor"),
        ("sd3", "vae/config.json", "sample_size", json!(u64::MAX), "sample_size"),
        ("sd3", "vae/config.json", "block_out_channels", json!([1_u64 << 40, 4]), "block_out_channels"),
        ("sd3", "scheduler/scheduler_config.json", "shift", json!(-3), "shift is -3, expected a number from 1e-9 to 1e9"),
        ("sd3", "scheduler/scheduler_config.json", "num_train_timesteps", json!(500), "num_train_timesteps is 500"),
        ("flux-dev", "scheduler/scheduler_config.json", "stochastic_sampling", json!(true), "stochastic_sampling is true"),
        ("flux-dev", "scheduler/scheduler_config.json", "max_shift", json!(2840), "max_shift is 2840"),
        ("flux-dev", "transformer/config.json", "axes_dims_rope", json!([0, 0, 0]), "axes_dims_rope"),
        ("flux-dev", "transformer/config.json", "attention_head_dim", json!(1_000_000), "attention_head_dim"),
        ("flux-dev", "text_encoder_2/config.json", "layer_norm_epsilon", json!(0), "layer_norm_epsilon is 0"),
    ] {
        let folder = Folder::copy_of(fixture);
        folder.set(file, entry, value);
        assert_says(&folder.refusal(), &[file, words]);
    }
}

/// transformers reads the text encoder's part of a whole CLIP's configuration.
#[test]
fn the_configuration_of_a_whole_clip_is_read() {
    let folder = Folder::copy_of("flux-dev");
    let path = folder.path("text_encoder/config.json");
    let text_config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let whole = json!({"architectures": ["CLIPModel"], "text_config": text_config, "vision_config": {"hidden_size": 5}});
    std::fs::write(&path, whole.to_string()).unwrap();
    folder.open().unwrap();
}

#[track_caller]
fn refused(pipeline: &Pipeline, settings: &Settings, words: &[&str]) {
    let said = pipeline.check(settings).map_err(|error| text(&error)).expect_err(&words.join(" "));
    assert_says(&said, words);
}

#[test]
fn settings_have_ranges() {
    let fixture = Fixture::new("sd3");
    let (pipeline, good) = (fixture.pipeline(), fixture.settings());
    pipeline.check(&good).unwrap();
    let skip = |start, stop, scale| Some(SkipLayerGuidance { layers: vec![1], scale, start, stop });
    let guidance = |method| Guidance { method, ..Guidance::default() };
    let projected = |eta, norm_threshold, momentum| guidance(GuidanceMethod::AdaptiveProjected { eta, norm_threshold, momentum });
    let interval = |start, end| Guidance { interval: Some(GuidanceInterval { start, end }), ..Guidance::default() };
    let (nan, infinite) = (f64::NAN, f64::INFINITY);
    for (settings, words) in [
        (Settings { skip_layers: skip(nan, 0.2, 2.8), ..good.clone() }, ["start of skip-layer guidance", "NaN"]),
        (Settings { skip_layers: skip(0.0, nan, 2.8), ..good.clone() }, ["stop of skip-layer guidance", "NaN"]),
        (Settings { skip_layers: skip(0.0, 0.2, infinite), ..good.clone() }, ["scale of skip-layer guidance", "inf"]),
        (Settings { guidance_scale: 1e6, ..good.clone() }, ["guidance scale is 1000000", "to 1000"]),
        (Settings { shift: Some(NoiseShift::Constant(nan)), ..good.clone() }, ["shift is NaN", "from 1e-9 to 1e9"]),
        (Settings { shift: Some(NoiseShift::Constant(1e300)), ..good.clone() }, ["shift is 1e300", "from 1e-9 to 1e9"]),
        (
            Settings { shift: Some(NoiseShift::Constant(1e9)), num_steps: 28, ..good.clone() },
            ["number of steps is 28", "a shift closer to 1"],
        ),
        (Settings { shift_terminal: Some(nan), ..good.clone() }, ["shift_terminal", "NaN"]),
        (Settings { num_steps: usize::MAX, ..good.clone() }, ["number of steps", "at most 100000"]),
        (
            Settings { schedule: Some(ScheduleKind::Simple), num_steps: 2000, ..good.clone() },
            ["number of steps is 2000", "\"simple\""],
        ),
        (Settings { max_sequence_length: 33, ..good.clone() }, ["maximum sequence length is 33", "1 to 32"]),
        (Settings { max_sequence_length: usize::MAX, ..good.clone() }, ["maximum sequence length is 1844", "made for"]),
        (Settings { guidance: projected(nan, None, 0.0), ..good.clone() }, ["eta", "NaN"]),
        (Settings { guidance: projected(0.0, Some(nan), 0.0), ..good.clone() }, ["norm threshold", "NaN"]),
        (Settings { guidance: projected(0.0, None, nan), ..good.clone() }, ["momentum", "NaN"]),
        (Settings { guidance: interval(0.1, infinite), ..good.clone() }, ["guidance interval", "inf"]),
        (Settings { guidance: interval(nan, 0.5), ..good.clone() }, ["guidance interval", "NaN"]),
        (Settings { guidance: Guidance { rescale: nan, ..Guidance::default() }, ..good.clone() }, ["rescale", "NaN"]),
        (
            Settings { guidance: guidance(GuidanceMethod::ZeroStar { zero_steps: usize::MAX }), ..good.clone() },
            ["number of zero steps", "at most 5"],
        ),
        (Settings { step_cache: StepCache::FirstBlock { threshold: nan }, ..good.clone() }, ["step cache", "NaN"]),
        (
            Settings { step_cache: StepCache::Easy { threshold: 0.1, start: nan, stop: 1.0 }, ..good.clone() },
            ["step cache", "NaN"],
        ),
    ] {
        refused(&pipeline, &settings, &words);
    }
    let mut levels: Vec<f64> = (0..=100_001).rev().map(f64::from).collect();
    levels[100_001] = 0.0;
    let settings = Settings { sigmas: Some(Sigmas::new(levels).unwrap()), ..good };
    refused(&pipeline, &settings, &["number of steps", "at most 100000"]);
}

/// Not the exponent of a formula, nor two equal noise levels.
#[test]
fn an_image_too_large_for_its_shift_is_told_in_pixels() {
    let fixture = Fixture::new("flux-dev");
    let (pipeline, good) = (fixture.pipeline(), fixture.settings());
    refused(&pipeline, &Settings { width: 16_384, height: 16_384, ..good.clone() }, &["16384 x 16384 pixels", "fewer pixels"]);
    refused(&pipeline, &Settings { width: 1 << 20, ..good.clone() }, &["longer than 16384 pixels"]);
    refused(&pipeline, &Settings { width: usize::MAX - 15, height: usize::MAX - 15, ..good.clone() }, &["longer than 16384"]);
    pipeline.check(&Settings { width: 4096, height: 4096, ..good.clone() }).unwrap();
    let settings = Settings { num_steps: usize::MAX, ..good.clone() };
    refused(&pipeline, &settings, &["number of steps", "at most 100000"]);
    // A plan is made of any settings.
    let vast = Settings { width: usize::MAX, height: usize::MAX, max_sequence_length: usize::MAX, ..good };
    assert_eq!(pipeline.plan(&vast, usize::MAX).peak_streamed, usize::MAX);
}

#[test]
fn a_request_is_checked_before_anything_is_loaded() {
    let fixture = Fixture::new("sd3");
    let (mut pipeline, settings) = (fixture.pipeline(), fixture.settings());
    let image =
        RgbImage { width: settings.width, height: settings.height, pixels: vec![0; 3 * settings.width * settings.height] };
    let init = |strength| Some(InitImage::new(image.clone(), strength));
    let mask = Mask { width: 16, height: 16, levels: vec![255; 256] };
    let request = Request { settings: settings.clone(), ..Request::new("a red star") };
    for (request, words) in [
        (Request { init: init(2.0), ..request.clone() }, ["strength is 2", "above 0, at most 1"]),
        (Request { init: init(0.0), ..request.clone() }, ["strength is 0", "above 0"]),
        (Request { init: init(f64::NAN), ..request.clone() }, ["strength is NaN", "above 0"]),
        (Request { init: init(1e-20), ..request.clone() }, ["strength is 0.000", "one of 5 steps"]),
        (
            Request { init: Some(InitImage { mask: Some(mask), ..init(0.5).unwrap() }), ..request.clone() },
            ["mask is 16 x 16", "same size"],
        ),
        (Request { seeds: vec![], ..request.clone() }, ["number of seeds is 0", "at least 1"]),
        (Request { seeds: vec![1; 1025], ..request.clone() }, ["number of images at once is 1025", "at most 1024"]),
        (
            Request { settings: Settings { max_sequence_length: 1_000_000, ..settings.clone() }, ..request.clone() },
            ["maximum sequence length is 1000000", "1 to 32"],
        ),
    ] {
        let mut events = 0;
        let result = pipeline.generate(&request, &mut |_| {
            events += 1;
            std::ops::ControlFlow::Continue(())
        });
        assert_says(&text(&result.map(drop).unwrap_err()), &words);
        assert_eq!(events, 0, "{words:?}: work was spent");
    }
    // The stages check, too.
    let vast = Settings { max_sequence_length: usize::MAX, ..settings.clone() };
    let error = pipeline.encode_prompt("a red star", "", &vast, &mut ignore).unwrap_err();
    assert!(matches!(error, PipelineError::Setting(_)) && !pipeline.has_prompt_encoder(), "{error}");
    let error = pipeline.denoise(&fixture.prompt(), &Start::from_seeds(&vec![1; 2000]), &settings, &mut ignore).unwrap_err();
    assert_says(&error.to_string(), &["number of images at once is 2000"]);
    let error = pipeline.encode_init_image(&init(2.0).unwrap(), &mut |_| panic!("nothing is loaded")).unwrap_err();
    assert_says(&error.to_string(), &["strength is 2"]);
}

/// The text encoders' own interfaces take no length at its word either.
#[test]
fn tokenizers_refuse_lengths_that_no_encoder_takes() {
    let folder = super::common::fixture("sd3");
    let clip = diffusion_models::clip::ClipTokenizer::from_dir(&folder.join("tokenizer")).unwrap();
    let t5 = diffusion_models::t5::T5Tokenizer::from_dir(&folder.join("tokenizer_3")).unwrap();
    for length in [usize::MAX, 1 << 17] {
        for error in [clip.encode("a", length).unwrap_err(), t5.encode("a", length).unwrap_err()] {
            assert_says(&error.to_string(), &["to 65536 tokens", &length.to_string()]);
        }
    }
}
