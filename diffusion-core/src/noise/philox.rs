//! Noise of torch's CUDA generator.

use std::f32::consts::TAU;

use super::source::NormalGenerator;

/// torch's CUDA generator, on the host: Philox 4x32-10 and the Box-Muller transform. The noise of programs that draw it on
/// an NVIDIA GPU, such as AUTOMATIC1111's web UI with its default settings.
///
/// A draw gives every number to a thread of the GPU, so which number goes where depends on how many threads the GPU runs at
/// once, for draws longer than that: [`new`](Self::new) is for shorter ones (125 952 numbers on an RTX 3090, latents of
/// 16 channels up to 704 by 704 pixels), [`of_gpu`](Self::of_gpu) for all.
///
/// Close to the GPU's numbers, not bit-exact: its logarithm and sine differ from the host's in last places.
///
/// Reference: torch `aten/src/ATen/native/cuda/DistributionTemplates.h` (`calc_execution_policy`,
/// `distribution_elementwise_grid_stride_kernel`); cuRAND `curand_normal.h`; Salmon et al., "Parallel random numbers: as
/// easy as 1, 2, 3", 2011.
#[derive(Clone, Debug)]
pub struct PhiloxGenerator {
    seed: u64,
    resident_threads: u64,
    offset: u64,
}

impl PhiloxGenerator {
    /// Threads of one block of torch's kernel.
    const BLOCK: u64 = 256;

    /// A generator as `torch.Generator("cuda").manual_seed(seed)` makes it, on a GPU of any size.
    pub fn new(seed: u64) -> Self {
        Self::of_gpu(seed, u64::MAX)
    }

    /// The same on a GPU that runs this many threads at once: its multiprocessors times the threads of each (82 times 1536
    /// on an RTX 3090). Torch rounds it down to whole blocks of 256 threads, at least one.
    pub fn of_gpu(seed: u64, resident_threads: u64) -> Self {
        let resident_threads = (resident_threads / Self::BLOCK).max(1).saturating_mul(Self::BLOCK);
        Self { seed, resident_threads, offset: 0 }
    }

    /// `len` numbers of the standard normal distribution, as one call of `torch.randn(..., device="cuda")` gives them.
    pub fn normal(&mut self, len: usize) -> Vec<f32> {
        let len = len as u64;
        let threads = self.resident_threads.min(len.next_multiple_of(Self::BLOCK));
        let mut values = Vec::with_capacity(len as usize);
        let mut calls = 0;
        // A call of all threads fills four stretches of the output, each as long as there are threads.
        while (values.len() as u64) < len {
            let stretch = (len - values.len() as u64).min(threads);
            let quads: Vec<[f32; 4]> = (0..stretch).map(|thread| self.normal_4(self.offset + calls, thread)).collect();
            for place in 0..4 {
                let left = (len - values.len() as u64).min(stretch) as usize;
                values.extend(quads[..left].iter().map(|quad| quad[place]));
            }
            calls += 1;
        }
        self.offset += calls;
        values
    }

    /// The four numbers that one call of a thread gives.
    fn normal_4(&self, offset: u64, thread: u64) -> [f32; 4] {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let ([a, b], [c, d]) = (halves(offset), halves(thread));
        let [x, y, z, w] = philox_4x32_10([a, b, c, d], halves(self.seed));
        let ([sin, cos], [sin_2, cos_2]) = (box_muller(x, y), box_muller(z, w));
        [sin, cos, sin_2, cos_2]
    }
}

impl NormalGenerator for PhiloxGenerator {
    fn normal(&mut self, len: usize) -> Vec<f32> {
        Self::normal(self, len)
    }
}

fn philox_4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const ROUNDS: usize = 10;
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let product = |a: u32, b: u32| {
        let wide = u64::from(a) * u64::from(b);
        ((wide >> 32) as u32, wide as u32)
    };
    for _ in 0..ROUNDS {
        let (high_0, low_0) = product(MULTIPLIERS[0], counter[0]);
        let (high_1, low_1) = product(MULTIPLIERS[1], counter[2]);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// Two random words to two normal numbers.
fn box_muller(first: u32, second: u32) -> [f32; 2] {
    const INVERSE_2_POW_32: f32 = 1.0 / 4_294_967_296.0;
    let uniform = (first as f32).mul_add(INVERSE_2_POW_32, INVERSE_2_POW_32 / 2.0);
    let angle = (second as f32).mul_add(INVERSE_2_POW_32 * TAU, INVERSE_2_POW_32 * TAU / 2.0);
    let radius = (-2.0 * uniform.ln()).sqrt();
    let (sin, cos) = angle.sin_cos();
    [radius * sin, radius * cos]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors published with Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn words_are_those_of_the_known_answers() {
        assert_eq!(philox_4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox_4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox_4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// What the web UI's own imitation of the GPU documents: AUTOMATIC1111 `modules/rng_philox.py` at 255da37.
    #[test]
    fn numbers_are_those_of_torch_on_a_gpu() {
        let expected = [
            -0.924_662_6,
            -0.425_344_15,
            -2.643_845_8,
            0.145_183_88,
            -0.120_866_47,
            -0.579_725_64,
            -0.622_851_2,
            -0.328_387_1,
            -1.074_542_3,
            -0.363_144_07,
            -1.671_050_7,
            2.265_505,
        ];
        for (found, expected) in PhiloxGenerator::new(0).normal(12).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_second_draw_is_a_new_one() {
        let mut generator = PhiloxGenerator::new(3);
        assert_ne!(generator.normal(8), generator.normal(8));
    }

    /// With 256 threads, number 256 is the second of thread 0's first call, and number 1024 the first of its second call.
    #[test]
    fn long_draws_come_back_to_the_first_thread() {
        let mut small = PhiloxGenerator::of_gpu(7, 300);
        let values = small.normal(1100);
        assert_eq!(values[256 * 3 + 5], small.normal_4(0, 5)[3]);
        assert_eq!(values[1024 + 75], small.normal_4(1, 75)[0]);
        assert_eq!(small.normal(1), [small.normal_4(2, 0)[0]]);
        assert_eq!(PhiloxGenerator::of_gpu(7, 2048).normal(1100), PhiloxGenerator::new(7).normal(1100));
    }
}
