//! The micro-kernels against sums in f64.

use super::*;
use crate::cpu::with_vectors;
use crate::{Cpu, Instructions};

fn number(i: usize, seed: usize) -> f32 {
    ((i * 7919 + seed * 104_729) % 2001) as f32 / 1000.0 - 1.0
}

/// Units of rows of numbers; where a unit holds two, they are rows 2k and 2k + 1.
fn units<A: Arith>(arith: A, numbers: &[Vec<f32>], width: usize) -> Vec<f32> {
    let s = arith.simd();
    let mut out = vec![0.0; numbers.len().div_ceil(A::PER_UNIT) * width];
    for (rows, out) in numbers.chunks(A::PER_UNIT).zip(out.chunks_mut(width)) {
        for first in (0..width).step_by(A::S::LANES) {
            let row = |i: usize| rows.get(i).map_or(s.zero(), |row| s.load(&row[first..]));
            s.store(arith.stack(row(0), || row(1)), &mut out[first..]);
        }
    }
    out
}

/// As bf16 holds it, where the arithmetic rounds.
fn rounded(x: f32, to_bf16: bool) -> f64 {
    let bits = x.to_bits();
    let bf16 = f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000);
    f64::from(if to_bf16 { bf16 } else { x })
}

fn check<A: Arith>(arith: A, to_bf16: bool) {
    const MR: usize = 5;
    const NV: usize = 3;
    let width = NV * A::S::LANES;
    for len in [1, 2, 3, 31, 64] {
        let a: Vec<Vec<f32>> = (0..len).map(|k| (0..A::S::LANES).map(|i| number(k * MR + i, 1)).collect()).collect();
        let b: Vec<Vec<f32>> = (0..len).map(|k| (0..width).map(|j| number(k * width + j, 2)).collect()).collect();
        let steps = len.div_ceil(A::PER_UNIT);
        let wide = units(arith, &a, A::S::LANES);
        let a_units: Vec<f32> = wide.chunks(A::S::LANES).flat_map(|row| row[..MR].to_vec()).collect();
        let a_rows: Vec<f32> = (0..MR * steps).map(|i| a_units[i % steps * MR + i / steps]).collect();
        let b_units = units(arith, &b, width);
        let exact = |i: usize, j: usize| -> f64 { (0..len).map(|k| rounded(a[k][i], to_bf16) * rounded(b[k][j], to_bf16)).sum() };
        let row_len = width + 3;
        let mut c = vec![0.5; MR * row_len];
        arith.vectorize(
            #[inline(always)]
            || tile::<A, MR, NV, 1, MR>(arith, steps, &a_units, &b_units, &mut c, row_len, Sums::Added),
        );
        for (at, found) in c.iter().enumerate() {
            let (i, j) = (at / row_len, at % row_len);
            let expected = if j < width { exact(i, j) } else { 0.0 } + 0.5;
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{len} {i} {j}: {found} {expected}");
        }
        if len == 64 {
            const STEPS: usize = 64;
            let strided: Vec<f32> =
                (0..MR * STEPS).map(|i| a_rows.get(i / STEPS * steps + i % STEPS).copied().unwrap_or(0.0)).collect();
            tile::<A, MR, NV, STEPS, 1>(arith, steps, &strided, &b_units, &mut c, row_len, Sums::New);
            assert!((f64::from(c[row_len + 1]) - exact(1, 1)).abs() < 1e-5);
        }
    }
}

#[test]
fn tiles_sum_products_exactly() {
    for cpu in Cpu::available() {
        with_vectors!(cpu, s => {
            check(F32(s), false);
            check(Rounded(s), true);
        });
        #[cfg(target_arch = "x86_64")]
        if let Some(pairs) = cpu.pairs() {
            check(pairs, true);
        }
    }
}

/// Sums over an image that is read in place, the rows of `b` being at any place of it.
fn check_taps<A: Arith>(arith: A, to_bf16: bool) {
    const MR: usize = 5;
    const NV: usize = 3;
    const LEN: usize = 24;
    let lanes = A::S::LANES;
    let (distance, steps) = (lanes + 1, LEN.div_ceil(A::PER_UNIT));
    let a: Vec<Vec<f32>> = (0..LEN).map(|k| (0..lanes).map(|i| number(k * MR + i, 1)).collect()).collect();
    let b: Vec<Vec<f32>> = (0..LEN).map(|k| (0..NV * lanes).map(|j| number(k * NV * lanes + j, 2)).collect()).collect();
    let a_units: Vec<f32> = units(arith, &a, lanes).chunks(lanes).flat_map(|row| row[..MR].to_vec()).collect();
    // Vector j of step k lies `distance` units behind its neighbours, the last step first.
    let mut image = vec![f32::NAN; steps * NV * distance];
    for (k, row) in units(arith, &b, NV * lanes).chunks(NV * lanes).enumerate() {
        for (j, vector) in row.chunks(lanes).enumerate() {
            image[(j * steps + steps - 1 - k) * distance..][..lanes].copy_from_slice(vector);
        }
    }
    let offsets: Offsets = (0..steps).map(|k| ((steps - 1 - k) * distance) as u32).collect();
    let bases = [&image[..], &image[steps * distance..], &image[2 * steps * distance..]];
    let mut c = vec![0.5; MR * NV * lanes];
    arith.vectorize(
        #[inline(always)]
        || taps::<A, MR, NV>(arith, steps, &a_units, &offsets, bases, &mut c, Sums::Added),
    );
    for (at, found) in c.iter().enumerate() {
        let (i, j) = (at / (NV * lanes), at % (NV * lanes));
        let expected: f64 = (0..LEN).map(|k| rounded(a[k][i], to_bf16) * rounded(b[k][j], to_bf16)).sum();
        assert!((f64::from(*found) - expected - 0.5).abs() < 1e-5, "{i} {j}: {found} {expected}");
    }
}

#[test]
fn taps_sum_products_exactly() {
    for cpu in Cpu::available() {
        with_vectors!(cpu, s => {
            check_taps(F32(s), false);
            check_taps(Rounded(s), true);
        });
        #[cfg(target_arch = "x86_64")]
        if let Some(pairs) = cpu.pairs() {
            check_taps(pairs, true);
        }
    }
}

#[test]
#[should_panic(expected = "units of the image")]
fn a_short_image_is_refused() {
    let cpu = Cpu::detect().at_most(Instructions::Generic);
    let offsets: Offsets = [0, 9].into_iter().collect();
    with_vectors!(cpu, s => taps::<_, 1, 1>(F32(s), 1, &[0.0; 2], &offsets, [&[0.0; 16]], &mut [0.0; 16], Sums::New));
}

#[test]
#[should_panic(expected = "units of the first operand")]
fn a_short_operand_is_refused() {
    let cpu = Cpu::detect().at_most(Instructions::Generic);
    with_vectors!(cpu, s => tile::<_, 2, 1, 1, 2>(F32(s), 3, &[0.0; 5], &[0.0; 48], &mut [0.0; 32], 16, Sums::New));
}
