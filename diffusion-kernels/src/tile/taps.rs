//! The micro-kernel of convolutions, whose second operand is an image that is read in place.

use super::{Arith, Sums};
use crate::simd::Simd;

/// Where the vectors of each step lie, from the base of their image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    offsets: Vec<u32>,
    highest: usize,
}

impl Offsets {
    pub(crate) fn push(&mut self, offset: u32) {
        self.offsets.push(offset);
        self.highest = self.highest.max(offset as usize);
    }
    pub(crate) fn clear(&mut self) {
        *self = Self { offsets: std::mem::take(&mut self.offsets), highest: 0 };
        self.offsets.clear();
    }
}

/// `c[i, j] (+)= sum over k of a[i, k] b[j][offsets[k] ..]`, for `MR` rows and `NV` vectors.
///
/// Unit `a[i, k]` lies at `a[k * MR + i]`, and vector `c[i, j]` at `c[(i * NV + j) * LANES ..]`.
///
/// # Panics
/// If a slice is too short.
#[inline(always)]
pub(crate) fn taps<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    offsets: &Offsets,
    a: &[f32],
    b: [&[f32]; NV],
    c: &mut [f32],
    sums: Sums,
) {
    let s = arith.simd();
    let lanes_len = A::S::LANES;
    assert!(b.iter().all(|b| b.len() >= offsets.highest + lanes_len), "units of the image");
    let a = &a[..offsets.offsets.len() * MR];
    let c = &mut c[..MR * NV * lanes_len];
    let mut acc = [[s.zero(); NV]; MR];
    for (a, &offset) in a.chunks_exact(MR).zip(&offsets.offsets) {
        let mut lanes = [s.zero(); NV];
        for (lanes, b) in lanes.iter_mut().zip(b) {
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
    for (acc, c) in acc.iter().flatten().zip(c.chunks_exact_mut(lanes_len)) {
        let sum = if sums == Sums::Added { s.add(s.load(c), *acc) } else { *acc };
        s.store(sum, c);
    }
}
