//! Modulations of all noise levels before sampling: the same pictures, from matrices that are not kept.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use diffusion_core::network::Modulations;
use diffusion_core::noise::{BrownianTree, PerImage};
use diffusion_core::weights::parameter_shapes;
use diffusion_core::{Evaluation, Loading, Precision, Residency, SamplerRun};
use diffusion_models::block_network::NoHook;
use diffusion_models::flux::FluxTransformer;
use diffusion_models::sd3::Sd3Transformer;
use diffusion_models::{Conditioning, Denoiser, DenoiserInput, Pipeline, Settings, Start, ignore};
use diffusion_schedulers::guidance::classifier_free;
use diffusion_schedulers::kind::{SamplerKind, SamplerSettings};
use fixture::Fixture;

const FAMILIES: [&str; 2] = ["sd3", "flux-dev"];
const SEEDS: [u64; 2] = [4, 5];

/// A pipeline with its network loaded, and a network of the same file whose matrices are all kept.
fn both_ways(fixture: &Fixture) -> (Pipeline, Box<dyn Denoiser>) {
    let pipeline = fixture.pipeline();
    let kept = pipeline.model().load_denoiser(&Loading::new(Precision::f32(), pipeline.device())).unwrap();
    (pipeline, kept)
}

/// What a network gives that is told of no modulations.
fn velocity(denoiser: &dyn Denoiser, latents: Tensor<4>, sigma: f64, texts: &Conditioning, settings: &Settings) -> Tensor<4> {
    velocity_with(denoiser, latents, sigma, texts, settings, None)
}

fn velocity_with(
    denoiser: &dyn Denoiser,
    latents: Tensor<4>,
    sigma: f64,
    conditioning: &Conditioning,
    settings: &Settings,
    modulations: Option<&Modulations>,
) -> Tensor<4> {
    let sigmas = vec![sigma; latents.dims()[0]];
    let distilled_guidance = settings.distilled_guidance;
    let input = DenoiserInput { latents, sigmas: &sigmas, conditioning, distilled_guidance, modulations };
    denoiser.velocity(&input, &[], &mut NoHook).unwrap()
}

/// The latents of a run whose modulations are computed in every step.
fn drawn_step_by_step(pipeline: &Pipeline, denoiser: &dyn Denoiser, fixture: &Fixture, settings: &Settings) -> TensorData {
    let prompt = fixture.prompt();
    let positive = prompt.positive.repeated(SEEDS.len());
    let both = Conditioning::batch(&[&prompt.negative.unwrap().repeated(SEEDS.len()), &positive]);
    let mut guided = |Evaluation { latents, sigma, .. }: Evaluation| {
        if !settings.is_guided() {
            return Ok(velocity(denoiser, latents, sigma, &positive, settings));
        }
        let twice = Tensor::cat(vec![latents.clone(), latents], 0);
        let velocities = velocity(denoiser, twice, sigma, &both, settings);
        let [negative, positive] = [0, SEEDS.len()].map(|first| velocities.clone().narrow(0, first, SEEDS.len()));
        Ok(classifier_free(positive, negative, settings.guidance_scale))
    };
    let table = pipeline.model().schedule(settings).unwrap().table;
    let noise = PerImage::new(SEEDS.iter().map(|&seed| BrownianTree::new(seed)));
    let run = SamplerRun {
        velocity: &mut guided,
        latents: pipeline.noise(&SEEDS, settings),
        sigmas: &pipeline.sigmas(settings).unwrap(),
        on_step: &mut |_| ControlFlow::Continue(()),
    };
    settings.sampler.build(&SamplerSettings::of(&table, noise)).unwrap().sample(run).unwrap().into_data()
}

/// A sampler of first order, one that comes by a level twice, and one that asks for levels between those of the schedule.
#[test]
fn runs_draw_to_the_bit_what_they_draw_step_by_step() {
    for name in FAMILIES {
        let fixture = Fixture::new(name);
        let (mut pipeline, kept) = both_ways(&fixture);
        for residency in [Residency::Resident, Residency::Streamed] {
            pipeline.set_residency(residency);
            for sampler in [SamplerKind::Euler, SamplerKind::Heun, SamplerKind::DpmPpSde] {
                for guidance_scale in [1.0, 3.0] {
                    let settings = Settings { sampler, guidance_scale, ..fixture.settings() };
                    let found = pipeline.denoise(&fixture.prompt(), &Start::from_seeds(&SEEDS), &settings, &mut ignore);
                    let expected = drawn_step_by_step(&pipeline, &*kept, &fixture, &settings);
                    assert!(
                        found.unwrap().into_data() == expected,
                        "{name}, {residency:?}, {sampler}, guidance {guidance_scale}"
                    );
                }
            }
        }
    }
}

fn shapes<M: Module + 'static>(denoiser: &dyn Any) -> BTreeMap<String, Vec<usize>> {
    parameter_shapes(denoiser.downcast_ref::<M>().unwrap())
}

fn parameters(name: &str, denoiser: &dyn Denoiser) -> BTreeMap<String, Vec<usize>> {
    if name == "sd3" { shapes::<Sd3Transformer>(denoiser) } else { shapes::<FluxTransformer>(denoiser) }
}

#[test]
fn a_pipeline_keeps_no_matrix_that_modulates_a_block_and_all_others() {
    for name in FAMILIES {
        let fixture = Fixture::new(name);
        let (mut pipeline, kept) = both_ways(&fixture);
        pipeline.denoise(&fixture.prompt(), &Start::from_seeds(&[1]), &fixture.settings(), &mut ignore).unwrap();
        let (all, found) = (parameters(name, &*kept), parameters(name, pipeline.denoiser().unwrap()));
        let is_of_block = |path: &str| path.contains("blocks.") && path.contains("modulation.");
        assert!(all.keys().filter(|path| is_of_block(path)).count() >= 6);
        for (path, shape) in all {
            let expected = if is_of_block(&path) { vec![1; shape.len()] } else { shape };
            assert_eq!(found[&path], expected, "{path}");
        }
    }
}

/// As a trainer or a measurement does.
#[test]
fn a_network_computes_the_modulations_that_it_is_not_given() {
    for name in FAMILIES {
        let fixture = Fixture::new(name);
        let (mut pipeline, kept) = both_ways(&fixture);
        let (settings, prompt) = (fixture.settings(), fixture.prompt());
        pipeline.denoise(&prompt, &Start::from_seeds(&[1]), &settings, &mut ignore).unwrap();
        let released = pipeline.denoiser().unwrap();
        let drawn = |denoiser: &dyn Denoiser, sigma, modulations: Option<&Modulations>| {
            let latents = fixture.tensor("noise");
            velocity_with(denoiser, latents, sigma, &prompt.positive, &settings, modulations).into_data()
        };
        let modulations = |conditioning| released.modulations(&[0.9, 0.5], conditioning, settings.distilled_guidance).unwrap();
        let (known, others) = (modulations(&prompt.positive), modulations(prompt.negative.as_ref().unwrap()));
        for sigma in [0.9, 0.5] {
            let expected = drawn(&*kept, sigma, None);
            assert!(drawn(released, sigma, None) == expected && drawn(released, sigma, Some(&known)) == expected, "{name}");
            assert!(drawn(released, sigma, Some(&others)) != expected, "{name}: what is given is not used");
        }
        // Of another level nothing is known.
        assert!(drawn(released, 0.7, Some(&others)) == drawn(&*kept, 0.7, None), "{name}");
    }
}

#[test]
fn modulations_take_no_more_memory_than_is_spent_on_them() {
    const BATCH: usize = 2000;
    let fixture = Fixture::new("sd3");
    let (_, kept) = both_ways(&fixture);
    let texts = fixture.prompt().positive.repeated(BATCH);
    let layers = parameters("sd3", &*kept).into_iter().filter(|(path, _)| path.ends_with("modulation.bias"));
    let width: usize = layers.filter(|(path, _)| path.starts_with("blocks.")).map(|(_, shape)| shape[0]).sum();
    let levels: Vec<f64> = (0..60).map(|level| 1.0 - f64::from(level) / 60.0).collect();
    let found = kept.modulations(&levels, &texts, None).unwrap();
    let expected = Modulations::MOST_BYTES / (BATCH * width * size_of::<f32>());
    assert!((1..60).contains(&expected), "{expected}");
    assert_eq!(found.sigmas(), &levels[..expected]);
}
