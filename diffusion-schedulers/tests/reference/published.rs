//! Every sampler against `ComfyUI`'s or diffusers', on given levels and with their noise.

use diffusion_core::Sampler;
use diffusion_core::noise::{BrownianTree, TorchGenerator};
use diffusion_schedulers::kind::{SamplerKind, SamplerSettings};
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::samplers::{AddedNoise, DpmPp2MLogSnr, LastSteps, SolverOrder, SolverType, UniPc, UniPcVariant};

use crate::{dummy_sample, numbers, run, sigmas};

/// What `tests/generators/make_reference.py` prints.
const REFERENCE: &str = include_str!("../data/reference.txt");
const SEED: u64 = 42;
const FLOW: [f64; 7] = [0.98, 0.9, 0.77, 0.55, 0.3, 0.1, 0.0];
const EXPLODING: [f64; 7] = [14.6, 6.0, 2.5, 1.1, 0.4, 0.1, 0.0];

struct Case<'a> {
    path: NoisePath,
    sampler: &'a str,
    /// Settings, as `name=value` or a word alone.
    variant: Vec<&'a str>,
    /// Sum of absolute values, then three of the numbers.
    expected: Vec<f64>,
}

impl<'a> Case<'a> {
    fn parse(line: &'a str) -> Self {
        let (case, values) = line.split_once(": ").unwrap();
        let words: Vec<&str> = case.split(' ').collect();
        let [path, sampler, variant] = words[..] else { panic!("{line}") };
        let path = if path == "flow" { NoisePath::Flow } else { NoisePath::VarianceExploding };
        let expected = values.split(' ').map(|value| value.parse().unwrap()).collect();
        Self { path, sampler, variant: variant.split(',').collect(), expected }
    }

    fn is(&self, word: &str) -> bool {
        self.variant.contains(&word)
    }

    fn setting(&self, name: &str) -> Option<f64> {
        self.variant.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }

    fn levels(&self) -> Vec<f64> {
        let mut levels = match self.path {
            NoisePath::Flow => FLOW.to_vec(),
            NoisePath::VarianceExploding => EXPLODING.to_vec(),
        };
        if self.is("from_one") {
            levels[0] = 1.0;
        }
        if ["lower", "full", "euler", "bh1", "bh2"].iter().any(|&word| self.is(word)) {
            levels[6] = 0.05;
        }
        levels
    }

    fn sampler(&self) -> Box<dyn Sampler + Send + Sync> {
        let path = self.path;
        let order = match self.setting("order") {
            Some(1.0) => SolverOrder::First,
            Some(3.0) => SolverOrder::Third,
            _ => SolverOrder::Second,
        };
        let noise = match self.sampler {
            "dpmpp_sde" | "dpmpp_2m_sde" | "dpmpp_2m_sde_heun" | "dpmpp_3m_sde" => AddedNoise::new(BrownianTree::new(SEED)),
            _ => AddedNoise::new(TorchGenerator::new(SEED)),
        };
        let noise = noise.with_eta(self.setting("eta").unwrap_or(1.0));
        match self.sampler {
            "dpmpp_2m_logsnr" => {
                let solver = if self.is("heun") { SolverType::Heun } else { SolverType::Midpoint };
                let last_steps = match self.variant[..] {
                    [.., "lower"] => LastSteps::LowerOfFew,
                    [.., "euler"] => LastSteps::Euler,
                    _ => LastSteps::Full,
                };
                Box::new(DpmPp2MLogSnr { path, order, solver, last_steps })
            }
            "uni_pc" => {
                let variant = if self.is("bh1") { UniPcVariant::Bh1 } else { UniPcVariant::Bh2 };
                Box::new(UniPc { path, order, variant })
            }
            name => {
                let settings = SamplerSettings { path, noise, ddim_eta: 0.0, first_sigma: 0.9999 };
                name.parse::<SamplerKind>().unwrap().build(&settings).unwrap()
            }
        }
    }
}

#[test]
fn final_latents_are_those_of_comfyui_and_diffusers() {
    for case in REFERENCE.lines().map(Case::parse) {
        let levels = sigmas(&case.levels());
        let start = if case.path == NoisePath::Flow { 1.0 } else { levels.first() };
        let steps_per_sigma = if case.path == NoisePath::Flow { 1000.0 } else { 50.0 };
        let velocity = |x: burn::Tensor<4>, sigma: f64| {
            let t = steps_per_sigma * sigma;
            x * (t / (t + 1.0))
        };
        let found = numbers(run(&*case.sampler(), velocity, dummy_sample() * start, &levels));
        let sum = found.iter().map(|x| x.abs()).sum();
        // Single precision against double. The samplers of the SDE see the offset first level in the reference, and 1 here.
        let offset = case.is("from_one") && case.sampler.contains("sde");
        let tolerance = if offset { 2e-3 } else { 2e-5 };
        for (found, &expected) in [sum, found[0], found[383], found[767]].into_iter().zip(&case.expected) {
            let scale = (case.expected[0] / 768.0).max(expected.abs());
            assert!(
                (found - expected).abs() <= tolerance * scale,
                "{:?} {} {:?}: {found}, expected {expected}",
                case.path,
                case.sampler,
                case.variant
            );
        }
    }
}

/// A start at exactly 1, where the log-SNR is infinite, gives no NaN, and the network sees the exact levels.
#[test]
fn every_sampler_takes_a_flow_from_one_to_zero_in_any_number_of_steps() {
    let settings = SamplerSettings {
        path: NoisePath::Flow,
        noise: AddedNoise::new(BrownianTree::new(SEED)),
        ddim_eta: 0.5,
        first_sigma: 0.9999,
    };
    for &kind in SamplerKind::ALL {
        for levels in [&[1.0, 0.0][..], &[1.0, 0.5, 0.0], &[1.0, 0.99999, 0.5, 0.0], &[1.0, 0.9, 0.8, 0.3, 0.2]] {
            let sampler = kind.build(&settings).unwrap();
            let mut seen = Vec::new();
            let velocity = |x: burn::Tensor<4>, sigma: f64| {
                seen.push(sigma);
                x * sigma
            };
            let found = numbers(run(&*sampler, velocity, dummy_sample(), &sigmas(levels)));
            assert!(found.iter().all(|x| x.is_finite()), "{kind} {levels:?}");
            assert!(seen.starts_with(&[1.0]), "{kind} showed the network another level");
            assert!(levels[..levels.len() - 1].iter().all(|level| seen.contains(level)), "{kind} {levels:?} {seen:?}");
        }
    }
}
