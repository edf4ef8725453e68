//! Rates of products at the widths of published models, beside the crate `gemm` in the same run.
//!
//! ```text
//! cargo bench -p diffusion-kernels --bench products [-- PART_OF_A_NAME] [-- --avx2]
//! ```
//!
//! Ways are measured in turn, several times; medians are printed in GFLOP/s (for few rows in GB/s of weight, beside a sum of the
//! bytes of a weight in f32), with the ratio to `gemm` in f32 or that sum, by the clock and by processor time. On a machine that
//! does something else too, only the ratios mean much, and those by processor time most.

mod common;

use std::hint::black_box;

use common::{arguments, medians};
use diffusion_kernels::{Cpu, Epilogue, Products, Weight, WeightFormat, linear};
use rayon::prelude::*;

/// Rows, outputs and inputs.
type Size = [usize; 3];

const SIZES: [(&str, Size); 12] = [
    ("sd3.5-medium qkv", [1357, 1536, 1536]),
    ("sd3.5-medium up", [1357, 6144, 1536]),
    ("sd3.5-medium down", [1357, 1536, 6144]),
    ("flux qkv", [1536, 3072, 3072]),
    ("flux up", [1536, 12288, 3072]),
    ("flux down", [1536, 3072, 12288]),
    ("t5-xxl up", [256, 10240, 4096]),
    ("t5-xxl down", [256, 4096, 10240]),
    ("clip-g qkv", [77, 1280, 1280]),
    ("clip-g up", [77, 5120, 1280]),
    ("flux modulation", [1, 18432, 3072]),
    ("flux modulation of 4", [4, 18432, 3072]),
];
const RUNS: usize = 7;
/// Rows up to which memory is what limits.
const FEW: usize = 16;

fn main() {
    let (filter, cpu) = arguments();
    for (name, size) in SIZES.into_iter().filter(|(name, _)| name.contains(&filter)) {
        measure(cpu, name, size);
    }
}

/// Bytes of a weight whose numbers are finite and of usual size.
fn stored(format: WeightFormat, numbers: usize) -> Vec<u8> {
    let (block_len, block_bytes) = format.block();
    let mut state = 1u32;
    let mut bytes: Vec<u8> = (0..numbers / block_len * block_bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    for block in bytes.chunks_exact_mut(block_bytes) {
        match format {
            WeightFormat::F32 => block[3] = block[3] & 0x80 | 0x3c,
            WeightFormat::F16 | WeightFormat::Bf16 => block[1] = block[1] & 0x80 | 0x3c,
            WeightFormat::Q8_0 | WeightFormat::Q4_0 => block[1] = 0x1c,
            WeightFormat::Q4_K => (block[1], block[3]) = (0x10, 0x10),
            _ => block[0] &= 0xbf,
        }
    }
    bytes
}

fn measure(cpu: Cpu, name: &str, [rows, outputs, inputs]: Size) {
    let input: Vec<f32> = (0..rows * inputs).map(|i| (i % 997) as f32 / 500.0 - 1.0).collect();
    let ways = [
        (Products::F32, WeightFormat::F32),
        (Products::F32, WeightFormat::Bf16),
        (Products::Bf16, WeightFormat::Bf16),
        (Products::Bf16, WeightFormat::F16),
        (Products::Bf16, WeightFormat::F8E4M3),
        (Products::Bf16, WeightFormat::Q8_0),
        (Products::Bf16, WeightFormat::Q4_0),
        (Products::Bf16, WeightFormat::Q4_K),
    ];
    let weights: Vec<Vec<u8>> = ways.iter().map(|&(_, format)| stored(format, outputs * inputs)).collect();
    let wide: Vec<f32> =
        weights[0].chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
    let mut out = vec![0.0; rows * outputs];
    let few = rows <= FEW;
    let times = medians(RUNS, ways.len() + 1, |way| match way {
        0 if few => sum_bytes(&weights[0]),
        0 => by_gemm(&input, &wide, &mut out, [rows, outputs, inputs]),
        _ => {
            let (products, format) = ways[way - 1];
            let weight = Weight::new(format, &weights[way - 1], [outputs, inputs]);
            linear(cpu, products, &input, &weight, &Epilogue::default(), &mut out);
        }
    });
    println!("{name}, {rows} x {outputs} x {inputs}:");
    let gflop = 2.0 * (rows * outputs * inputs) as f64 * 1e-9;
    for (way, seconds) in times.iter().enumerate() {
        let label = match way {
            0 if few => "sum of f32".to_owned(),
            0 => "gemm in f32".to_owned(),
            _ => format!("{:?} from {:?}", ways[way - 1].0, ways[way - 1].1),
        };
        let work = |way: usize| if few { weights[way.saturating_sub(1)].len() as f64 * 1e-9 } else { gflop };
        let unit = if few { "GB/s" } else { "GFLOP/s" };
        let [clock, busy] = [seconds.clock, seconds.busy].map(|seconds| work(way) / seconds);
        let [of_clock, of_busy] = [clock / (work(0) / times[0].clock), busy / (work(0) / times[0].busy)];
        let milliseconds = seconds.clock * 1e3;
        println!(
            "    {label:18} {milliseconds:8.2} ms {clock:6.1} {unit} ({of_clock:.2}), by processor time {busy:6.1} ({of_busy:.2})"
        );
    }
}

/// What memory gives: every byte read once.
fn sum_bytes(bytes: &[u8]) {
    let sum: u64 = bytes
        .par_chunks(1 << 18)
        .map(|bytes| {
            let (words, _) = bytes.as_chunks::<8>();
            words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
        })
        .sum();
    black_box(sum);
}

fn by_gemm(input: &[f32], weight: &[f32], out: &mut [f32], [rows, outputs, inputs]: Size) {
    assert!(input.len() == rows * inputs && weight.len() == outputs * inputs && out.len() == rows * outputs);
    // SAFETY: pointers and strides are those of the matrices whose lengths are checked above.
    unsafe {
        gemm::gemm(
            rows,
            outputs,
            inputs,
            out.as_mut_ptr(),
            1,
            outputs as isize,
            false,
            input.as_ptr(),
            1,
            inputs as isize,
            weight.as_ptr(),
            inputs as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
