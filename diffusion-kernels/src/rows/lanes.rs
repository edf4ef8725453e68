//! Rows as vectors, the last of which may be a part.

use crate::simd::{MAX_LANES, Simd};

/// The vector that begins at `first`; zeros beyond the end.
#[inline(always)]
pub(super) fn get<S: Simd>(s: S, row: &[f32], first: usize) -> S::V {
    match row.get(first..first + S::LANES) {
        Some(values) => s.load(values),
        None => s.load_part(row.get(first..).unwrap_or_default()),
    }
}

/// Write the vector that begins at `first`, as far as the row goes.
#[inline(always)]
pub(super) fn put<S: Simd>(s: S, vector: S::V, row: &mut [f32], first: usize) {
    match row.get_mut(first..first + S::LANES) {
        Some(out) => s.store(vector, out),
        None => s.store_part(vector, row.get_mut(first..).unwrap_or_default()),
    }
}

/// As [`get`], with `fill` beyond the end.
#[inline(always)]
pub(super) fn get_or<S: Simd>(s: S, row: &[f32], first: usize, fill: f32) -> S::V {
    if let Some(values) = row.get(first..first + S::LANES) {
        return s.load(values);
    }
    let mut padded = [fill; MAX_LANES];
    let rest = row.get(first..).unwrap_or_default();
    padded[..rest.len()].copy_from_slice(rest);
    s.load(&padded)
}

/// Partial sums, so that additions need not wait for one another.
pub(super) const SUMS: usize = 4;

/// The sum of `term(vector)` over a row that goes on with `fill`.
#[inline(always)]
pub(super) fn sum<S: Simd>(s: S, row: &[f32], fill: f32, add: impl Fn(S::V, S::V) -> S::V) -> f32 {
    let mut sums = [s.zero(); SUMS];
    for row in row.chunks(SUMS * S::LANES) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = add(*sum, get_or(s, row, i * S::LANES, fill));
        }
    }
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}
