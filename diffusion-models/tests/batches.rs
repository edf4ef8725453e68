//! Several pictures at once.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use common::assert_close;
use diffusion_core::Precision;
use diffusion_models::flux::Flux;
use diffusion_models::sd3::Sd3;
use diffusion_models::{Family, Guidance, GuidanceMethod, ModelParts, Pipeline, PipelineError, Prompt, Settings};
use diffusion_schedulers::kind::SamplerKind;
use fixture::Fixture;

/// A product of more rows may add them up in another order.
const TOLERANCE: f64 = 1e-5;

const PROMPTS: [&str; 3] = ["a lighthouse", "a red fox in the snow", ""];
const SEEDS: [u64; 3] = [4, 5, 6];

fn pipeline<F: Family>(fixture: &Fixture) -> Pipeline<F> {
    Pipeline::open(&fixture.path(""), &ModelParts::default(), Precision::f32(), &Device::flex()).unwrap()
}

fn check<F: Family>(name: &'static str, change: impl Fn(&mut Settings)) {
    let fixture = Fixture::new(name);
    let mut pipeline = pipeline::<F>(&fixture);
    let mut settings = fixture.settings();
    change(&mut settings);
    let prompts = pipeline.encode_prompts(&PROMPTS, "fog", &settings).unwrap();
    let mut draw = |prompts: &[&Prompt<F::Conditioning>], seeds: &[u64]| {
        let settings = Settings { sampler_seeds: seeds.to_vec(), ..settings.clone() };
        let noise = pipeline.noises(seeds, &settings);
        pipeline.denoise(&Prompt::batch::<F>(prompts), noise, &settings, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let together = draw(&prompts.iter().collect::<Vec<_>>(), &SEEDS);
    let alone = prompts.iter().zip(SEEDS).map(|(prompt, seed)| draw(&[prompt], &[seed])).collect();
    let what = format!("{name}, {}", settings.sampler);
    assert_close(&what, together, Tensor::cat(alone, 0), TOLERANCE);
}

#[test]
fn pictures_of_a_batch_are_those_drawn_alone() {
    for sampler in [SamplerKind::Euler, SamplerKind::EulerAncestral, SamplerKind::DpmPp2MSde] {
        check::<Sd3>("sd3", |settings| settings.sampler = sampler);
    }
    check::<Flux>("flux-dev", |settings| settings.sampler = SamplerKind::DpmPpSde);
}

#[test]
fn guidance_treats_the_pictures_of_a_batch_apart() {
    let projected = GuidanceMethod::AdaptiveProjected { along: 0.0, longest: Some(5.0), momentum: -0.5 };
    for method in [projected, GuidanceMethod::ZeroStar { zero_steps: 1 }] {
        let guidance = Guidance { method, rescale: 0.7, ..Guidance::default() };
        check::<Sd3>("sd3", |settings| settings.guidance = guidance.clone());
        check::<Flux>("flux-dev", |settings| (settings.guidance, settings.true_cfg_scale) = (guidance.clone(), 2.0));
    }
}

#[test]
fn stochastic_samplers_need_a_seed_for_every_picture() {
    let fixture = Fixture::new("sd3");
    let mut pipeline = pipeline::<Sd3>(&fixture);
    let settings = Settings { sampler: SamplerKind::Lcm, ..fixture.settings() };
    let prompt = fixture.prompt();
    let two = Prompt::batch::<Sd3>(&[&prompt, &prompt]);
    let noise = pipeline.noises(&[1, 2], &settings);
    let error = pipeline.denoise(&two, noise, &settings, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, PipelineError::Setting { .. }) && error.to_string().contains("sampler seeds is 1"), "{error}");
}
