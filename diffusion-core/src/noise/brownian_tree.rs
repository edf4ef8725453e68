//! Noise that depends on the noise levels only, not on the order or number of the steps.

use std::collections::HashMap;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};

use super::seed_sequence;
use super::source::{NoiseSource, NoiseStream, host_tensor};
use super::torch::TorchGenerator;
use crate::sigmas::Sigmas;

/// The increments of one Brownian motion over the noise levels, halved down a tree of seeds until a level is found.
///
/// Runs of more or fewer steps between the same ends share their noise, so that an image changes little with the number of
/// steps; and a sampler may ask for the noise of a part of a step. The numbers are those of torchsde's `BrownianTree` on a
/// CPU, which `ComfyUI`'s SDE samplers draw from.
///
/// Levels are told apart to six decimals, as there: closer ones have no noise between them.
///
/// Reference: torchsde 0.2.6 `_brownian/brownian_interval.py` (`halfway_tree`); `ComfyUI`
/// `comfy/k_diffusion/sampling.py#L85` at a125cd8.
#[derive(Clone, Debug)]
pub struct BrownianTree {
    seed: u64,
}

impl BrownianTree {
    /// The tree of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl NoiseSource for BrownianTree {
    fn begin(&self, shape: [usize; 4], sigmas: &Sigmas, device: &Device) -> Box<dyn NoiseStream> {
        let lowest = sigmas.as_slice().iter().rfind(|&&sigma| sigma > 0.0).copied().unwrap_or(0.0);
        let (start, end) = (single(lowest), single(sigmas.first()));
        let seed = seed_sequence::first_word(self.seed, &[]);
        let deviation = (end - start).sqrt() as f32;
        let increment = draw(seed, shape.iter().product()).into_iter().map(|noise| noise * deviation).collect();
        let root = Interval { start: rounded(start), end: rounded(end), spawn_key: 0, depth: 0, increment };
        Box::new(Increments { seed: self.seed, root: Rc::new(root), known: Halves::new(), shape, device: device.clone() })
    }
}

struct Increments {
    seed: u64,
    root: Rc<Interval>,
    /// The halves that the last call took: the way to the level where the next step starts.
    known: Halves,
    shape: [usize; 4],
    device: Device,
}

/// Halves of intervals, by the spawn key and depth of these.
type Halves = HashMap<(u64, u64), Rc<[Interval; 2]>>;

impl NoiseStream for Increments {
    fn between(&mut self, sigma: f64, next: f64) -> Tensor<4> {
        let (from, to) = (rounded(single(next)).max(self.root.start), rounded(single(sigma)).min(self.root.end));
        let (mut total, mut used) = (None, Halves::new());
        if from < to {
            self.add_increments(&self.root, (from, to), &mut total, &mut used);
        }
        self.known = used;
        let width = (sigma as f32 - next as f32).abs().sqrt();
        let values = match total {
            // The motion runs upwards and the sampler downwards.
            Some(total) => total.into_iter().map(|increment: f32| -increment / width).collect(),
            None => vec![0.0; self.shape.iter().product()],
        };
        host_tensor(values, self.shape, &self.device)
    }
}

impl Increments {
    /// Add up the increments of the parts of `interval` inside `from..to`, halving it until its parts end there.
    fn add_increments(&self, interval: &Interval, (from, to): (f64, f64), total: &mut Option<Vec<f32>>, used: &mut Halves) {
        let middle = rounded(0.5 * (interval.start + interval.end));
        let indivisible = middle <= interval.start || middle >= interval.end;
        if indivisible || (from <= interval.start && to >= interval.end) {
            match total {
                Some(total) => total.iter_mut().zip(&interval.increment).for_each(|(total, part)| *total += part),
                None => *total = Some(interval.increment.clone()),
            }
            return;
        }
        let key = (interval.spawn_key, interval.depth);
        let halves = self.known.get(&key).cloned().unwrap_or_else(|| Rc::new(interval.halves(middle, self.seed)));
        used.insert(key, halves.clone());
        let [lower, upper] = &*halves;
        if from < middle {
            self.add_increments(lower, (from, to.min(middle)), total, used);
        }
        if to > middle {
            self.add_increments(upper, (from.max(middle), to), total, used);
        }
    }
}

/// A node of the tree: a stretch of noise levels and what the motion gains over it.
struct Interval {
    start: f64,
    end: f64,
    spawn_key: u64,
    depth: u64,
    increment: Vec<f32>,
}

impl Interval {
    fn halves(&self, middle: f64, entropy: u64) -> [Self; 2] {
        let reciprocal = 1.0 / (self.end - self.start);
        let (left, right) = (middle - self.start, self.end - middle);
        let deviation = (left * right * reciprocal).sqrt() as f32;
        let (left, reciprocal) = (left as f32, reciprocal as f32);
        let seed = seed_sequence::first_word(entropy, &[self.spawn_key, self.depth]);
        let noise = draw(seed, self.increment.len());
        let bridge = |(noise, whole): (f32, &f32)| left * whole * reciprocal + deviation * noise;
        let lower: Vec<f32> = noise.into_iter().zip(&self.increment).map(bridge).collect();
        let upper = self.increment.iter().zip(&lower).map(|(whole, lower)| whole - lower).collect();
        let child = |start, end, side, increment| Self {
            start,
            end,
            spawn_key: self.spawn_key.wrapping_mul(2) + side,
            depth: self.depth + 1,
            increment,
        };
        [child(self.start, middle, 0, lower), child(middle, self.end, 1, upper)]
    }
}

fn draw(seed: u32, len: usize) -> Vec<f32> {
    TorchGenerator::new(u64::from(seed)).normal(len)
}

/// The level in the single precision in which the reference holds it.
fn single(sigma: f64) -> f64 {
    f64::from(sigma as f32)
}

/// To six decimals, halves to even in decimal digits, as Python's `round` does it.
fn rounded(sigma: f64) -> f64 {
    format!("{sigma:.6}").parse().unwrap_or(sigma)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 4] = [1, 4, 4, 5];

    fn stream(seed: u64, levels: &[f64]) -> Box<dyn NoiseStream> {
        BrownianTree::new(seed).begin(SHAPE, &Sigmas::new(levels.to_vec()).unwrap(), &Device::flex())
    }

    fn bits_sum(noise: Tensor<4>) -> i64 {
        noise.into_data().try_to_vec::<f32>().unwrap().iter().map(|x| i64::from(x.to_bits() as i32)).sum()
    }

    /// Sums of the bits that `BrownianTreeNoiseSampler(..., seed=42, cpu=True)` of ComfyUI gives with torchsde 0.2.6.
    #[test]
    fn increments_are_torchsdes_to_the_bit() {
        let mut flow = stream(42, &[1.0, 0.9, 0.75, 0.5, 0.3, 0.0]);
        assert_eq!(bits_sum(flow.between(1.0, 0.9)), -1_333_280_219);
        assert_eq!(bits_sum(flow.between(0.9, 0.75)), 5_141_094_506);
        assert_eq!(bits_sum(flow.between(0.75, 0.5)), -20_559_782_182);
        assert_eq!(bits_sum(flow.between(0.5, 0.3)), 11_691_124_222);
        let mut exploding = stream(42, &[14.614_641, 7.5, 3.1, 0.029_167_2]);
        assert_eq!(bits_sum(exploding.between(3.1, 0.029_167_2)), 5_246_053_191);
        assert_eq!(bits_sum(exploding.between(14.614_641, 7.5)), 5_044_250_833);
        assert_eq!(bits_sum(exploding.between(7.5, 3.1)), -20_514_999_624);
    }

    #[test]
    fn parts_of_a_step_add_up_to_it() {
        let mut stream = stream(5, &[1.0, 0.6, 0.2]);
        let whole = stream.between(1.0, 0.6) * 0.4f64.sqrt();
        let parts = stream.between(1.0, 0.83) * 0.17f64.sqrt() + stream.between(0.83, 0.6) * 0.23f64.sqrt();
        assert!(whole.all_close(parts, Some(0.0), Some(1e-5)));
    }

    #[test]
    fn levels_too_close_to_tell_apart_have_no_noise_between_them() {
        let mut stream = stream(5, &[1e18, 0.5, 0.499_999_9]);
        assert_eq!(stream.between(0.5, 0.499_999_9).abs().sum().into_scalar::<f32>(), 0.0);
        assert!(stream.between(1e18, 0.5).abs().sum().into_scalar::<f32>() > 0.0);
    }
}
