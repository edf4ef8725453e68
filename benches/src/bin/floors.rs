//! What the machine gives, with all threads of the pool.
//!
//! ```sh
//! cargo run --release -p diffusion-benches --bin floors
//! ```
//!
//! `f32` and `bf16` are multiplications and additions a second of independent chains in registers, `read` and `fresh` are bytes a
//! second: of memory far beyond the caches that is read once, and of memory from the operating system that is written for the
//! first time. No product can be faster than the first two, and no product with few rows than its weights are read.
//!
//! The best of many short runs counts, for registers that of each thread, so that other work on the machine does not count.

use std::hint::black_box;
use std::time::Instant;

use diffusion_kernels::{Cpu, Instructions};
use rayon::prelude::*;

/// Runs of which the best counts.
const RUNS: usize = 500;
/// Rounds of all chains in a run: about a millisecond, less than other programs are kept waiting.
const ROUNDS: usize = 100_000;
/// Bytes, more than any cache has.
const BYTES: usize = 1 << 30;
/// Bytes that a thread takes at a time.
const PIECE: usize = 1 << 20;
const MEMORY_RUNS: usize = 8;

fn main() {
    let instructions = Cpu::detect().instructions();
    println!("instructions {instructions:?}");
    println!("threads {}", rayon::current_num_threads());
    println!("f32 {}", all_threads(|| chains(instructions, false)));
    println!("bf16 {}", all_threads(|| chains(instructions, true)));
    let memory = vec![1u8; BYTES];
    println!("read {}", best(MEMORY_RUNS, || read(&memory)));
    drop(memory);
    println!("fresh {}", best(MEMORY_RUNS, fresh));
}

/// The highest rate of some runs, each of which gives how much it did.
fn best(runs: usize, mut run: impl FnMut() -> f64) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        let work = run();
        work / start.elapsed().as_secs_f64()
    };
    (0..runs).map(rate).fold(0.0, f64::max)
}

/// The rates of all threads together while all work.
fn all_threads(run: impl Fn() -> f64 + Sync) -> f64 {
    rayon::broadcast(|_| best(RUNS, &run)).into_iter().sum()
}

/// Operations of chains in registers: sums of products of f32 or, where there are instructions for it, of pairs of bf16.
fn chains(instructions: Instructions, pairs: bool) -> f64 {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Cpu::detect` found these instructions.
        Instructions::Avx512Bf16 if pairs => unsafe { x86::pairs(ROUNDS) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Instructions::Avx512 | Instructions::Avx512Bf16 => unsafe { x86::avx512(ROUNDS) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Instructions::Avx2 => unsafe { x86::avx2(ROUNDS) },
        _ => plain(ROUNDS),
    }
}

/// Chains that the compiler makes vectors of.
fn plain(rounds: usize) -> f64 {
    const LANES: usize = 16 * 4;
    // On other processors it is a call of a function.
    let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
    let mut sums = black_box([1.0f32; LANES]);
    let [factor, addend] = black_box([0.5f32, 0.25]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = if fused { sum.mul_add(factor, addend) } else { *sum * factor + addend };
        }
    }
    black_box(sums);
    (2 * LANES * rounds) as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_ps,
    };
    use std::hint::black_box;

    /// Enough to hide the time that one operation takes, and as many as registers hold.
    const CHAINS: usize = 24;
    const CHAINS_OF_AVX2: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(rounds: usize) -> f64 {
        let [factor, addend] = black_box([_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)]);
        let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, addend);
            }
        }
        black_box(sums);
        (2 * 16 * CHAINS * rounds) as f64
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pairs(rounds: usize) -> f64 {
        let [left, right] = black_box([_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)]);
        let (left, right) = (_mm512_cvtne2ps_pbh(left, right), _mm512_cvtne2ps_pbh(right, left));
        let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, left, right);
            }
        }
        black_box(sums);
        (2 * 32 * CHAINS * rounds) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(rounds: usize) -> f64 {
        let [factor, addend] = black_box([_mm256_set1_ps(0.5), _mm256_set1_ps(0.25)]);
        let mut sums = black_box([_mm256_set1_ps(1.0); CHAINS_OF_AVX2]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, addend);
            }
        }
        black_box(sums);
        (2 * 8 * CHAINS_OF_AVX2 * rounds) as f64
    }
}

/// Bytes read once.
fn read(memory: &[u8]) -> f64 {
    let sum = |piece: &[u8]| {
        let (words, _) = piece.as_chunks::<8>();
        words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
    };
    black_box(memory.par_chunks(PIECE).map(sum).reduce(|| 0, u64::wrapping_add));
    memory.len() as f64
}

/// Bytes written into memory that the operating system has to find and clear.
fn fresh() -> f64 {
    let mut memory: Vec<u8> = Vec::with_capacity(BYTES);
    memory.spare_capacity_mut()[..BYTES].par_chunks_mut(PIECE).for_each(|piece| {
        piece.fill(std::mem::MaybeUninit::new(1));
    });
    black_box(&memory);
    BYTES as f64
}
