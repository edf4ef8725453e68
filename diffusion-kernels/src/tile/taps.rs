//! The micro-kernel of convolutions, whose second operand is an image that is read in place.

use super::{Arith, Sums};
use crate::simd::Simd;

/// Where the vectors of each step lie, from the base of their tile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    offsets: Vec<u32>,
    highest: usize,
}

impl FromIterator<u32> for Offsets {
    fn from_iter<I: IntoIterator<Item = u32>>(offsets: I) -> Self {
        let offsets: Vec<u32> = offsets.into_iter().collect();
        let highest = offsets.iter().copied().max().unwrap_or(0) as usize;
        Self { offsets, highest }
    }
}

/// `c[i, j] (+)= sum over k < steps of a[i, k] b[j][offsets[k] ..]`, for `MR` rows and `NV` vectors.
///
/// Unit `a[i, k]` lies at `a[k * MR + i]`, and vector `c[i, j]` at `c[(i * NV + j) * LANES ..]`.
///
/// # Panics
/// If a slice is too short, or there are fewer offsets than steps.
#[inline(always)]
pub(crate) fn taps<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    steps: usize,
    a: &[f32],
    offsets: &Offsets,
    b: [&[f32]; NV],
    c: &mut [f32],
    sums: Sums,
) {
    let s = arith.simd();
    let lanes_len = A::S::LANES;
    let mut shortest = usize::MAX;
    for b in b {
        shortest = shortest.min(b.len());
    }
    assert!(steps == 0 || shortest >= offsets.highest + lanes_len, "units of the image");
    let (a, steps) = (&a[..steps * MR], &offsets.offsets[..steps]);
    let c = &mut c[..MR * NV * lanes_len];
    let mut acc = [[s.zero(); NV]; MR];
    for (a, &offset) in a.chunks_exact(MR).zip(steps) {
        let mut lanes = [s.zero(); NV];
        for (lanes, b) in lanes.iter_mut().zip(&b) {
            // SAFETY: `LANES` units exist after the highest offset, as checked above, and no offset is higher.
            *lanes = s.load(unsafe { b.get_unchecked(offset as usize..offset as usize + lanes_len) });
        }
        for (acc, &unit) in acc.iter_mut().zip(a) {
            let unit = s.splat(unit);
            for (acc, lanes) in acc.iter_mut().zip(lanes) {
                *acc = arith.dot(*acc, unit, lanes);
            }
        }
    }
    // By two loops that are unrolled: one over all of them would keep the sums in memory.
    for (i, acc) in acc.iter().enumerate() {
        for (j, acc) in acc.iter().enumerate() {
            let c = &mut c[(i * NV + j) * lanes_len..];
            let sum = if sums == Sums::Added { s.add(s.load(c), *acc) } else { *acc };
            s.store(sum, c);
        }
    }
}
