//! Stochastic samplers leave the distribution that they should, the same for the same seed.

use burn::Tensor;
use burn::tensor::Device;
use diffusion_core::noise::{BrownianTree, NoiseSource, PhiloxGenerator, TorchGenerator, latent_noise};
use diffusion_core::{Sampler, SigmaSchedule, Sigmas};
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::samplers::{
    AddedNoise, Ddim, DpmPp2MSde, DpmPp2SAncestral, DpmPp3MSde, DpmPpSde, EulerAncestral, SolverType,
};
use diffusion_schedulers::schedules::{AsFlow, Karras, SigmaRange};

use crate::accuracy::Gaussian;
use crate::{dummy_sample, numbers, run, sigmas, sum_abs};

fn samplers(path: NoisePath, noise: &AddedNoise) -> Vec<(&'static str, Box<dyn Sampler>)> {
    let noise = noise.clone();
    vec![
        ("Euler ancestral", Box::new(EulerAncestral { path, noise: noise.clone() })),
        ("DDIM", Box::new(Ddim { noise: Some(noise.clone()), ..Ddim::new(path) })),
        ("DPM++ 2S ancestral", Box::new(DpmPp2SAncestral { path, noise: noise.clone() })),
        ("DPM++ SDE", Box::new(DpmPpSde::new(path, noise.clone()))),
        ("DPM++ 2M SDE", Box::new(DpmPp2MSde::new(path, noise.clone()))),
        ("DPM++ 2M SDE Heun", Box::new(DpmPp2MSde { solver: SolverType::Heun, ..DpmPp2MSde::new(path, noise.clone()) })),
        ("DPM++ 3M SDE", Box::new(DpmPp3MSde::new(path, noise))),
    ]
}

/// The same signal-to-noise ratios on both paths.
fn levels(path: NoisePath, num_steps: usize) -> Sigmas {
    let exploding = Karras::new(SigmaRange::new(0.02, 30.0).unwrap());
    match path {
        NoisePath::Flow => AsFlow { inner: exploding }.sigmas(num_steps).unwrap(),
        NoisePath::VarianceExploding => exploding.sigmas(num_steps).unwrap(),
    }
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}

/// 16 384 numbers: the mean is known to 0.003 and the deviation to 0.002. Fifty steps leave some error of their own.
#[test]
fn images_have_the_mean_and_deviation_of_the_target() {
    const SHAPE: [usize; 4] = [1, 4, 64, 64];
    for path in [NoisePath::Flow, NoisePath::VarianceExploding] {
        let target = Gaussian { path, mean: 0.7, deviation: 0.4 };
        let levels = levels(path, 50);
        let first = levels.first();
        for (name, sampler) in samplers(path, &AddedNoise::new(BrownianTree::new(7))) {
            let noise = latent_noise(3, SHAPE, &Device::flex());
            let start = noise * target.deviation_at(first) + target.mean * path.alpha(first);
            let end = numbers(run(&*sampler, |x, sigma| target.velocity(x, sigma), start, &levels));
            let (mean, deviation) = mean_and_deviation(&end);
            assert!((mean - 0.7).abs() < 0.012, "{name} on {path:?}: mean {mean}");
            let tolerance = if name.contains("DPM++") { 0.012 } else { 0.045 };
            assert!((deviation - 0.4).abs() < tolerance, "{name} on {path:?}: deviation {deviation}");
        }
    }
}

/// Both evaluations of a step of DPM++ SDE see noise, and the noise of the first is a part of that of the second. Independent
/// numbers take some of the variance away, and more steps help little.
#[test]
fn dpm_solver_sde_needs_noise_by_level() {
    let path = NoisePath::VarianceExploding;
    let target = Gaussian { path, mean: 0.7, deviation: 0.4 };
    let levels = levels(path, 30);
    let deviation = |noise: AddedNoise| {
        let start = latent_noise(3, [1, 4, 64, 64], &Device::flex()) * levels.first();
        let end = run(&DpmPpSde::new(path, noise), |x, sigma| target.velocity(x, sigma), start, &levels);
        mean_and_deviation(&numbers(end)).1
    };
    let (by_level, by_draw) =
        (deviation(AddedNoise::new(BrownianTree::new(7))), deviation(AddedNoise::new(TorchGenerator::new(7))));
    assert!((by_level - 0.4).abs() < 0.01 && by_draw < 0.37, "{by_level} {by_draw}");
}

#[test]
fn a_seed_fixes_the_image_and_another_changes_it() {
    let sources: [fn(u64) -> AddedNoise; 3] = [
        |seed| AddedNoise::new(TorchGenerator::new(seed)),
        |seed| AddedNoise::new(PhiloxGenerator::new(seed)),
        |seed| AddedNoise::new(BrownianTree::new(seed)),
    ];
    let path = NoisePath::Flow;
    let target = Gaussian { path, mean: 0.7, deviation: 0.4 };
    let end = |sampler: &dyn Sampler| run(sampler, |x, sigma| target.velocity(x, sigma), dummy_sample(), &levels(path, 6));
    for source in sources {
        let (one, two) = (samplers(path, &source(1)), samplers(path, &source(2)));
        for ((name, first), (_, second)) in one.iter().zip(&two) {
            let image = end(&**first);
            assert_eq!(numbers(image.clone()), numbers(end(&**first)), "{name} keeps state between runs");
            assert!(sum_abs(image - end(&**second)) > 1.0, "{name} does not use the seed");
        }
    }
}

/// With noise by level, twice the steps lead to nearly the same image; with noise by draw, to another one.
#[test]
fn a_brownian_tree_keeps_the_image_over_numbers_of_steps() {
    let path = NoisePath::VarianceExploding;
    let target = Gaussian { path, mean: 0.7, deviation: 0.4 };
    let difference = |noise: AddedNoise| {
        let sampler = DpmPp2MSde::new(path, noise);
        let [few, many] = [40, 80].map(|num_steps| {
            run(&sampler, |x, sigma| target.velocity(x, sigma), dummy_sample() * 30.0, &levels(path, num_steps))
        });
        sum_abs(few - many) / 768.0
    };
    let by_level = difference(AddedNoise::new(BrownianTree::new(1)));
    let by_draw = difference(AddedNoise::new(TorchGenerator::new(1)));
    assert!(by_level < 0.15 && by_draw > 0.3, "{by_level} {by_draw}");
}

/// Draws noise from the source itself, as a sampler does.
#[test]
fn noise_of_every_source_is_standard_normal() {
    let sources: [Box<dyn NoiseSource>; 3] =
        [Box::new(TorchGenerator::new(5)), Box::new(PhiloxGenerator::new(5)), Box::new(BrownianTree::new(5))];
    for source in sources {
        let levels = sigmas(&[1.0, 0.7, 0.1, 0.0]);
        let mut stream = source.begin([1, 4, 128, 128], &levels, &Device::flex());
        let [first, second]: [Tensor<4>; 2] = [stream.between(1.0, 0.7), stream.between(0.7, 0.1)];
        let correlation = (first.clone() * second.clone()).mean().into_scalar::<f32>();
        assert!(correlation.abs() < 0.016, "{source:?}: {correlation}");
        for noise in [first, second] {
            let (mean, deviation) = mean_and_deviation(&numbers(noise));
            assert!(mean.abs() < 0.016 && (deviation - 1.0).abs() < 0.012, "{mean} {deviation}");
        }
    }
}
