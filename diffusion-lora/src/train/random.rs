//! Random numbers of training.

use std::f64::consts::TAU;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// Random numbers that depend on a seed, a stream and an index, and on nothing else: neither on what was drawn before nor on the
/// machine's number of threads. So whatever a step of training draws can be drawn again when the run is resumed.
///
/// Seed, stream and index are parts of a key, so that numbers of different ones have nothing to do with each other.
///
/// ```
/// use diffusion_lora::train::TrainingRandom;
///
/// const NOISE: u64 = 1;
/// let noise_of_step = |step| TrainingRandom::new(42, NOISE, step).normals(4);
/// assert_eq!(noise_of_step(7), noise_of_step(7));
/// assert_ne!(noise_of_step(7), noise_of_step(8));
/// ```
#[derive(Debug)]
pub struct TrainingRandom {
    generator: ChaCha8Rng,
    /// The second of two normal numbers that are made at once.
    normal: Option<f64>,
}

impl TrainingRandom {
    /// The numbers of this index in this stream. A stream is a use of its own, such as noise or the order of an epoch.
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, part) in key.as_chunks_mut().0.iter_mut().zip([seed, stream, index]) {
            *bytes = part.to_le_bytes();
        }
        Self { generator: ChaCha8Rng::from_seed(key), normal: None }
    }

    /// A number in [0, 1), with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 * 2f64.powi(-53)
    }

    /// A number of the standard normal distribution.
    ///
    /// Reference: Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    pub fn normal(&mut self) -> f64 {
        if let Some(normal) = self.normal.take() {
            return normal;
        }
        // Above 0, whose logarithm is not finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (TAU * self.uniform()).sin_cos();
        self.normal = Some(radius * sin);
        radius * cos
    }

    /// So many numbers of the standard normal distribution.
    pub fn normals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.normal() as f32).collect()
    }

    /// A number from 0 to `n - 1`, each as likely as the others.
    ///
    /// # Panics
    /// If there are none: `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is no number below 0");
        let n = n as u64;
        // As many numbers as fit a whole number of times; the others would make small results more likely.
        let fair = u64::MAX - u64::MAX % n;
        loop {
            let number = self.generator.next_u64();
            if number < fair {
                return (number % n) as usize;
            }
        }
    }

    /// Put indices into an order, each order as likely as the others (Fisher and Yates).
    pub fn shuffle(&mut self, indices: &mut [usize]) {
        for last in (1..indices.len()).rev() {
            indices.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that is resumed with another build goes on with the same numbers: those of `ChaCha8` under this key, as a Python
    /// program computes them.
    #[test]
    fn numbers_stay_what_they_are() {
        let mut random = TrainingRandom::new(1, 2, 3);
        let mut indices: Vec<usize> = (0..8).collect();
        random.shuffle(&mut indices);
        assert_eq!((random.uniform(), indices), (0.866_946_216_941_243_3, vec![2, 6, 1, 5, 3, 7, 4, 0]));
    }

    #[test]
    fn seed_stream_and_index_give_numbers_of_their_own() {
        let firsts: Vec<u64> = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (u64::MAX, 0, 0), (0, 0, u64::MAX)]
            .map(|(seed, stream, index)| TrainingRandom::new(seed, stream, index).uniform().to_bits())
            .into();
        for (index, first) in firsts.iter().enumerate() {
            assert!(!firsts[..index].contains(first));
        }
    }

    /// Means of 100,000 numbers stray by a few thousandths: the bounds are five standard deviations.
    #[test]
    fn distributions_have_their_moments() {
        const LEN: usize = 100_000;
        let mut random = TrainingRandom::new(7, 0, 0);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let uniform: Vec<f64> = (0..LEN).map(|_| random.uniform()).collect();
        assert!(uniform.iter().all(|value| (0.0..1.0).contains(value)));
        assert!((mean(&uniform) - 0.5).abs() < 0.0046, "{}", mean(&uniform));
        let normal: Vec<f64> = random.normals(LEN).into_iter().map(f64::from).collect();
        let power = |exponent| mean(&normal.iter().map(|value| value.powi(exponent)).collect::<Vec<_>>());
        assert!(power(1).abs() < 0.016, "{}", power(1));
        assert!((power(2) - 1.0).abs() < 0.023, "{}", power(2));
        assert!((power(4) - 3.0).abs() < 0.155, "{}", power(4));
        // Neighbours, which come of one pair, have nothing to do with each other.
        let products: Vec<f64> = normal.as_chunks::<2>().0.iter().map(|[first, second]| first * second).collect();
        assert!(mean(&products).abs() < 0.023, "{}", mean(&products));
    }

    #[test]
    fn whole_numbers_and_orders_are_equally_likely() {
        let mut random = TrainingRandom::new(7, 0, 1);
        let mut counts = [0_i32; 6];
        for _ in 0..60_000 {
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            counts[order[0] * 2 + usize::from(order[1] > order[2])] += 1;
        }
        // Five standard deviations of a count of 10,000.
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 460), "{counts:?}");
        let drawn: Vec<usize> = (0..1000).map(|_| random.below(3)).collect();
        assert!((0..3).all(|value| drawn.contains(&value)) && drawn.iter().all(|&value| value < 3));
        random.shuffle(&mut []);
    }

    #[test]
    #[should_panic(expected = "no number below 0")]
    fn nothing_is_below_zero() {
        TrainingRandom::new(0, 0, 0).below(0);
    }
}
