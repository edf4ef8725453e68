//! Several images at once.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use burn::tensor::Tensor;
use common::assert_close;
use diffusion_core::{Loading, Precision};
use diffusion_models::block_network::NoHook;
use diffusion_models::{
    ComponentPaths, Conditioning, DenoiserInput, EncodedPrompt, Guidance, GuidanceEvaluation, GuidanceMethod, PipelineError,
    Request, SettingError, Settings, Start, Tiling, ignore,
};
use diffusion_schedulers::kind::SamplerKind;
use fixture::{Fixture, pipeline};

/// A product of more rows may add them up in another order.
const TOLERANCE: f64 = 1e-5;

const PROMPTS: [&str; 3] = ["a lighthouse", "a red fox in the snow", ""];
const SEEDS: [u64; 3] = [4, 5, 6];

fn check(name: &'static str, change: impl Fn(&mut Settings)) {
    let fixture = Fixture::new(name);
    let mut pipeline = fixture.pipeline();
    let mut settings = fixture.settings();
    change(&mut settings);
    let prompts = pipeline.encode_prompts(&PROMPTS, "fog", &settings, &mut ignore).unwrap();
    let mut draw = |prompts: &[&EncodedPrompt], seeds: &[u64]| {
        pipeline.denoise(&EncodedPrompt::batch(prompts), &Start::from_seeds(seeds), &settings, &mut ignore).unwrap()
    };
    let together = draw(&prompts.iter().collect::<Vec<_>>(), &SEEDS);
    let alone = prompts.iter().zip(SEEDS).map(|(prompt, seed)| draw(&[prompt], &[seed])).collect();
    let what = format!("{name}, {}", settings.sampler);
    assert_close(&what, together, Tensor::cat(alone, 0), TOLERANCE);
}

#[test]
fn images_of_a_batch_are_those_drawn_alone() {
    for sampler in [SamplerKind::Euler, SamplerKind::EulerAncestral, SamplerKind::DpmPp2MSde] {
        check("sd3", |settings| settings.sampler = sampler);
    }
    check("flux-dev", |settings| settings.sampler = SamplerKind::DpmPpSde);
}

#[test]
fn guidance_treats_the_images_of_a_batch_apart() {
    let projected = GuidanceMethod::AdaptiveProjected { eta: 0.0, norm_threshold: Some(5.0), momentum: -0.5 };
    for method in [projected, GuidanceMethod::ZeroStar { zero_steps: 1 }] {
        let guidance = Guidance { method, rescale: 0.7, ..Guidance::default() };
        check("sd3", |settings| settings.guidance = guidance.clone());
        check("flux-dev", |settings| (settings.guidance, settings.guidance_scale) = (guidance.clone(), 2.0));
    }
}

#[test]
fn every_image_needs_a_prompt_and_a_seed() {
    let fixture = Fixture::new("sd3");
    let (mut pipeline, settings) = (fixture.pipeline(), fixture.settings());
    let prompt = fixture.prompt();
    let two = EncodedPrompt::batch(&[&prompt, &prompt]);
    for seeds in [&[1][..], &[1, 2, 3], &[]] {
        let error = pipeline.denoise(&two, &Start::from_seeds(seeds), &settings, &mut ignore).unwrap_err();
        assert!(matches!(error, PipelineError::Setting(SettingError { setting: "number of seeds", .. })), "{error}");
    }
    let noise = pipeline.noise(&[1, 2, 3], &settings);
    let start = Start { noise: Some(noise), ..Start::from_seeds(&[1, 2]) };
    let error = pipeline.denoise(&two, &start, &settings, &mut ignore).unwrap_err();
    assert!(matches!(error, PipelineError::Setting(SettingError { setting: "number of noises", .. })), "{error}");
}

/// Signal to noise of pictures in [-1, 1], in decibels.
fn psnr(found: Tensor<4>, expected: Tensor<4>) -> f64 {
    const PEAK: f64 = 2.0;
    let mean_square = (found - expected).square().mean().into_scalar::<f32>();
    10.0 * (PEAK * PEAK / f64::from(mean_square)).log10()
}

/// What the documentation of batches and of sequential guidance promises: "the same image" means this near.
#[test]
fn batches_and_sequential_guidance_draw_the_same_images_to_90_db() {
    const PROMISED: f64 = 90.0;
    let fixture = |name| Fixture::new(name);
    let mini = pipeline(&common::asset("mini-sd3"), &ComponentPaths::new());
    let mini_settings = Settings { num_steps: 20, guidance_scale: 5.0, ..mini.default_settings() };
    let true_guidance = Settings { guidance_scale: 2.0, ..fixture("flux-dev").settings() };
    for (name, mut pipeline, settings) in [
        ("sd3", fixture("sd3").pipeline(), fixture("sd3").settings()),
        ("flux-dev", fixture("flux-dev").pipeline(), true_guidance),
        ("the miniature", mini, mini_settings),
    ] {
        let loading = Loading::new(Precision::f32(), pipeline.device());
        let decoder = pipeline.model().autoencoder().load_decoder(&loading).unwrap();
        let prompt = pipeline.encode_prompt("a large green star on a white background", "fog", &settings, &mut ignore).unwrap();
        let mut draw = |seeds: &[u64], settings: &Settings| {
            let latents = pipeline.denoise(&prompt, &Start::from_seeds(seeds), settings, &mut ignore).unwrap();
            decoder.decode(latents, Tiling::Whole).clamp(-1.0, 1.0)
        };
        let alone = draw(&[1], &settings);
        let of_batch = draw(&[1, 2, 3, 4], &settings).narrow(0, 0, 1);
        let evaluation = GuidanceEvaluation::Sequential;
        let sequential = Settings { guidance: Guidance { evaluation, ..Guidance::default() }, ..settings };
        let sequential = draw(&[1], &sequential);
        for (what, found) in [("a batch of 4", of_batch), ("sequential guidance", sequential)] {
            let psnr = psnr(found, alone.clone());
            println!("{name}, {what}: {psnr:.1} dB");
            assert!(psnr >= PROMISED, "{name}, {what}: {psnr:.1} dB");
        }
    }
}

/// What adds noise between steps takes it from the seed of its image, however the image is asked for.
#[test]
fn a_request_of_seeds_gives_the_images_of_its_stages() {
    let fixture = Fixture::new("sd3");
    for sampler in [SamplerKind::EulerAncestral, SamplerKind::DpmPpSde] {
        let settings = Settings { sampler, ..fixture.settings() };
        let request = Request { seeds: SEEDS.into(), settings: settings.clone(), ..Request::new(PROMPTS[0]) };
        let together = fixture.pipeline().generate(&request, &mut ignore).unwrap();
        let mut pipeline = fixture.pipeline();
        let prompt = pipeline.encode_prompt(PROMPTS[0], "", &settings, &mut ignore).unwrap();
        for (seed, together) in SEEDS.into_iter().zip(together) {
            let latents = pipeline.denoise(&prompt, &Start::from_seeds(&[seed]), &settings, &mut ignore).unwrap();
            let alone = pipeline.decode(latents, Tiling::Whole, &mut ignore).unwrap().remove(0);
            let worst = alone.pixels.iter().zip(&together.pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // Batches may sum in another order, which moves a value over the edge of a level at most.
            assert!(worst <= 1, "{sampler}, seed {seed}: {worst} levels off");
        }
    }
}

/// A trainer has other noise in every image.
#[test]
fn every_image_of_a_batch_may_have_a_noise_level_of_its_own() {
    for name in ["sd3", "flux-dev"] {
        let fixture = Fixture::new(name);
        let (mut pipeline, settings) = (fixture.pipeline(), fixture.settings());
        let prompt = fixture.prompt();
        pipeline.denoise(&prompt, &Start::from_seeds(&[1]), &settings, &mut ignore).unwrap();
        let velocity = |latents: Tensor<4>, sigmas: &[f64], conditioning: &Conditioning| {
            let input = DenoiserInput {
                latents,
                sigmas,
                conditioning,
                distilled_guidance: settings.distilled_guidance,
                modulations: None,
            };
            pipeline.denoiser().unwrap().velocity(&input, &[], &mut NoHook).unwrap()
        };
        let (latents, texts) = (pipeline.noise(&[1, 2], &settings), [&prompt.positive, prompt.negative.as_ref().unwrap()]);
        let sigmas = [0.9, 0.25];
        let together = velocity(latents.clone(), &sigmas, &Conditioning::batch(&texts));
        let alone = (0..2).map(|image| velocity(latents.clone().narrow(0, image, 1), &sigmas[image..=image], texts[image]));
        assert_close(name, together, Tensor::cat(alone.collect(), 0), TOLERANCE);
    }
}
