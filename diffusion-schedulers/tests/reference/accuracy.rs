//! Orders of accuracy, on a flow whose solution is known: all images are one normal distribution.

use burn::Tensor;
use burn::tensor::Device;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::{Sampler, Sigmas};
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::samplers::{
    AddedNoise, Ddim, DpmPp2M, DpmPp2MLogSnr, DpmPp2MSde, DpmPp2SAncestral, DpmPp3MSde, DpmPpSde, Euler, EulerAncestral, Heun,
    Ipndm, LastSteps, ResMultistep, SolverOrder, SolverType, UniPc, UniPcVariant,
};

use crate::{dummy_sample, numbers, run, sigmas};

/// Images are normally distributed, independent in all numbers.
pub(crate) struct Gaussian {
    pub(crate) path: NoisePath,
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Gaussian {
    /// Deviation of the noisy latents at a level.
    pub(crate) fn deviation_at(&self, sigma: f64) -> f64 {
        (self.path.alpha(sigma) * self.deviation).hypot(sigma)
    }

    /// The exact velocity: the mean over all images and noises that give these latents.
    pub(crate) fn velocity(&self, x: Tensor<4>, sigma: f64) -> Tensor<4> {
        let alpha = self.path.alpha(sigma);
        let offset = x - alpha * self.mean;
        let variance = self.deviation_at(sigma).powi(2);
        let noise = offset.clone() * (sigma / variance);
        match self.path {
            NoisePath::Flow => noise - (offset * (alpha * self.deviation.powi(2) / variance) + self.mean),
            NoisePath::VarianceExploding => noise,
        }
    }

    /// Where the ordinary differential equation leads from `x` at one level to another.
    fn solution(&self, x: f64, from: f64, to: f64) -> f64 {
        let standard = (x - self.path.alpha(from) * self.mean) / self.deviation_at(from);
        self.path.alpha(to) * self.mean + self.deviation_at(to) * standard
    }
}

/// How much the error falls each time that all steps are halved, as a power of two: the mean of two times.
fn order_of(sampler: &dyn Sampler, path: NoisePath, levels: &dyn Fn(usize) -> Sigmas, num_steps: usize) -> f64 {
    let target = Gaussian { path, mean: 0.6, deviation: 0.15 };
    let error = |num_steps: usize| {
        let levels = levels(num_steps);
        let (from, to) = (levels.first(), levels.as_slice()[levels.num_steps()]);
        let start = 1.3 * target.deviation_at(from);
        let x = Tensor::full([1, 1, 1, 1], start, &Device::flex());
        let found = numbers(run(sampler, |x, sigma| target.velocity(x, sigma), x, &levels))[0];
        (found - target.solution(f64::from(start as f32), from, to)).abs()
    };
    (error(num_steps) / error(4 * num_steps)).log2() / 2.0
}

/// Levels evenly spaced in the log-SNR of the flow from 0.9 to 0.15, or from 8 to 0.2.
fn even(path: NoisePath, num_steps: usize) -> Sigmas {
    let ends = match path {
        NoisePath::Flow => [0.9, 0.15],
        NoisePath::VarianceExploding => [8.0, 0.2],
    };
    let [from, to] = ends.map(|sigma| path.half_log_snr(sigma));
    let at = |i: usize| path.sigma_at(from + (to - from) * i as f64 / num_steps as f64);
    sigmas(&(0..=num_steps).map(at).collect::<Vec<_>>())
}

/// The same with ever shorter steps at both ends, so that the low orders that multistep samplers start and end with do not
/// show.
fn gentle(path: NoisePath, num_steps: usize) -> Sigmas {
    let levels = even(path, num_steps);
    let levels = levels.as_slice();
    let between = |a: f64, b: f64, share: f64| path.sigma_at(path.half_log_snr(a) * (1.0 - share) + path.half_log_snr(b) * share);
    let share = 4.0 / num_steps as f64;
    let [first, last] = [[levels[0], levels[1]], [levels[num_steps], levels[num_steps - 1]]];
    let near = |[end, inner]: [f64; 2]| [share * share / 4.0, share / 2.0].map(|share| between(end, inner, share));
    let mut all = levels.to_vec();
    all.extend(near(first));
    all.extend(near(last));
    all.sort_by(|a, b| b.total_cmp(a));
    sigmas(&all)
}

fn no_noise() -> AddedNoise {
    AddedNoise::new(TorchGenerator::new(0)).with_eta(0.0)
}

fn assert_orders(cases: &[(&str, &dyn Sampler, f64)], measure: &dyn Fn(&dyn Sampler) -> f64) {
    for (name, sampler, expected) in cases {
        let found = measure(*sampler);
        assert!(found > expected - 0.5, "{name} is of order {found}, not {expected}");
    }
}

#[test]
fn errors_fall_with_the_order_of_the_sampler() {
    for path in [NoisePath::Flow, NoisePath::VarianceExploding] {
        let noise = no_noise();
        let cases: [(&str, &dyn Sampler, f64); 11] = [
            ("Euler", &Euler, 1.0),
            ("DDIM", &Ddim::new(path), 1.0),
            ("Heun", &Heun, 2.0),
            ("DPM++ 2M", &DpmPp2M, 2.0),
            ("RES multistep", &ResMultistep, 2.0),
            ("DPM++ 2M log-SNR", &DpmPp2MLogSnr { last_steps: LastSteps::Full, ..DpmPp2MLogSnr::new(path) }, 2.0),
            ("UniPC 1", &UniPc { order: SolverOrder::First, ..UniPc::new(path) }, 2.0),
            ("DPM++ 2S", &DpmPp2SAncestral { path, noise: noise.clone() }, 2.0),
            ("DPM++ SDE", &DpmPpSde::new(path, noise.clone()), 2.0),
            ("DPM++ 2M SDE", &DpmPp2MSde::new(path, noise.clone()), 2.0),
            ("DPM++ 2M SDE Heun", &DpmPp2MSde { solver: SolverType::Heun, ..DpmPp2MSde::new(path, noise.clone()) }, 2.0),
        ];
        assert_orders(&cases, &|sampler| order_of(sampler, path, &|num_steps| even(path, num_steps), 16));
    }
}

#[test]
fn errors_of_higher_orders_fall_faster() {
    for path in [NoisePath::Flow, NoisePath::VarianceExploding] {
        let (order, solver, last_steps) = (SolverOrder::Third, SolverType::Heun, LastSteps::Full);
        let uni_pc = |order, variant| UniPc { path, order, variant };
        let cases: [(&str, &dyn Sampler, f64); 5] = [
            // The weight that the references give the curvature is half of the expansion's, which spoils the third order.
            ("DPM++ 3M log-SNR", &DpmPp2MLogSnr { path, order, solver, last_steps }, 2.0),
            ("DPM++ 3M SDE", &DpmPp3MSde::new(path, no_noise()), 2.0),
            ("UniPC 2", &uni_pc(SolverOrder::Second, UniPcVariant::Bh2), 3.0),
            ("UniPC 2 bh1", &uni_pc(SolverOrder::Second, UniPcVariant::Bh1), 3.0),
            ("UniPC 3", &uni_pc(SolverOrder::Third, UniPcVariant::Bh2), 3.0),
        ];
        // From few steps on: soon the errors are those of single precision.
        assert_orders(&cases, &|sampler| order_of(sampler, path, &|num_steps| gentle(path, num_steps), 8));
    }
}

/// Its weights are those of equal steps in σ.
#[test]
fn ipndm_is_of_high_order_for_equal_steps() {
    let levels = |num_steps: usize| {
        let at = |i: usize| 0.9 - 0.5 * i as f64 / num_steps as f64;
        sigmas(&(0..=num_steps).map(at).collect::<Vec<_>>())
    };
    // The first step is Euler's, whose error at once falls with the square.
    let found = order_of(&Ipndm, NoisePath::Flow, &levels, 16);
    assert!(found > 1.7, "{found}");
}

/// Without noise the stochastic samplers are deterministic ones.
#[test]
fn samplers_without_noise_are_their_deterministic_kin() {
    for path in [NoisePath::Flow, NoisePath::VarianceExploding] {
        let target = Gaussian { path, mean: 0.6, deviation: 0.4 };
        let noise = no_noise();
        let third = DpmPp2MLogSnr { order: SolverOrder::Third, solver: SolverType::Heun, ..DpmPp2MLogSnr::new(path) };
        let third = DpmPp2MLogSnr { last_steps: LastSteps::Full, ..third };
        let second = DpmPp2MLogSnr { last_steps: LastSteps::Full, ..DpmPp2MLogSnr::new(path) };
        let kin: [(&str, &dyn Sampler, &dyn Sampler); 5] = [
            ("Euler ancestral", &EulerAncestral { path, noise: noise.clone() }, &Euler),
            ("DDIM", &Ddim { noise: Some(noise.clone()), ..Ddim::new(path) }, &Euler),
            ("DPM++ 2M SDE", &DpmPp2MSde::new(path, noise.clone()), &second),
            ("DPM++ 3M SDE", &DpmPp3MSde::new(path, noise.clone()), &third),
            ("DPM++ SDE", &DpmPpSde::new(path, noise.clone()), &DpmPp2SAncestral { path, noise }),
        ];
        let mut levels = even(path, 9).as_slice().to_vec();
        levels.push(0.0);
        for (name, sampler, deterministic) in kin {
            let end = |sampler| run(sampler, |x, sigma| target.velocity(x, sigma), dummy_sample(), &sigmas(&levels));
            assert!(end(sampler).all_close(end(deterministic), Some(0.0), Some(2e-6)), "{name} on {path:?}");
        }
    }
}
