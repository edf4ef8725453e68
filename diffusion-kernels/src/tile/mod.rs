//! The micro-kernels that all products rest on: a tile of sums in registers, one operand taken number by number, the other
//! vector by vector, from where it was packed ([`tile`]) or from an image ([`taps`]).
//!
//! Operands are cut into *units* of 32 bits: one f32, or a pair of bf16 that follow one another along the summed dimension. So
//! layouts, packing and loops are the same for both. Units are kept in slices of f32, whatever their bits mean.

mod arith;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod taps;

pub(crate) use arith::{Arith, F32, Rounded, Vector};
#[cfg(target_arch = "x86_64")]
pub(crate) use pairs::Pairs;
pub(crate) use taps::{Offsets, taps};

use crate::simd::Simd;

/// What a tile does with the sums that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sums {
    /// Writes over them.
    New,
    /// Adds to them.
    Added,
}

/// [`tile_at`] with strides that the compiler knows.
#[inline(always)]
pub(crate) fn tile<A: Arith, const MR: usize, const NV: usize, const AR: usize, const AK: usize>(
    arith: A,
    steps: usize,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    row_len: usize,
    sums: Sums,
) {
    tile_at::<A, MR, NV>(arith, steps, a, [AR, AK], b, c, row_len, sums);
}

/// `c[i, j] (+)= sum over k < steps of a[i, k] b[k, j]`, for `MR` rows and `NV` vectors.
///
/// Unit `a[i, k]` lies at `a[i * ar + k * ak]`, `b[k, ..]` at `b[k * NV * LANES ..]`, and `c[i, ..]` at `c[i * row_len ..]`.
///
/// # Panics
/// If a slice is too short.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three operands with what is to know of them")]
pub(crate) fn tile_at<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    steps: usize,
    a: &[f32],
    [ar, ak]: [usize; 2],
    b: &[f32],
    c: &mut [f32],
    row_len: usize,
    sums: Sums,
) {
    let width = NV * A::S::LANES;
    assert!(steps == 0 || is_reached(a.len(), [MR - 1, ar], [steps - 1, ak]), "units of the first operand");
    let (b, c) = (&b[..steps * width], &mut c[..(MR - 1) * row_len + width]);
    let s = arith.simd();
    let mut acc = [[s.zero(); NV]; MR];
    let mut first = a.as_ptr();
    for b in b.chunks_exact(width) {
        let mut lanes = [s.zero(); NV];
        for (j, lanes) in lanes.iter_mut().enumerate() {
            *lanes = s.load(&b[j * A::S::LANES..]);
        }
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: step k reads up to `a[(MR - 1) * AR + k * AK]`, and k < steps; checked above.
            let unit = s.splat(unsafe { *first.add(i * ar) });
            for (acc, lanes) in acc.iter_mut().zip(lanes) {
                *acc = arith.dot(*acc, unit, lanes);
            }
        }
        first = first.wrapping_add(ak);
    }
    for (i, acc) in acc.iter().enumerate() {
        for (j, acc) in acc.iter().enumerate() {
            let c = &mut c[i * row_len + j * A::S::LANES..];
            let sum = if sums == Sums::Added { s.add(s.load(c), *acc) } else { *acc };
            s.store(sum, c);
        }
    }
}

/// Whether `len` numbers have one after so many steps of these strides.
#[inline(always)]
fn is_reached(len: usize, [rows, ar]: [usize; 2], [steps, ak]: [usize; 2]) -> bool {
    let last = rows.checked_mul(ar).zip(steps.checked_mul(ak)).and_then(|(row, step)| row.checked_add(step));
    last.is_some_and(|last| last < len)
}

#[cfg(test)]
mod tests;
