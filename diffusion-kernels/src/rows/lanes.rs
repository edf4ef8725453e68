//! Rows as vectors, the last of which may be a part.

use crate::simd::{MAX_LANES, Simd};

/// The vector that begins at `first`; zeros beyond the end.
#[inline(always)]
pub(crate) fn get<S: Simd>(s: S, row: &[f32], first: usize) -> S::V {
    match row.get(first..first + S::LANES) {
        Some(values) => s.load(values),
        None => s.load_part(row.get(first..).unwrap_or_default()),
    }
}

/// Write the vector that begins at `first`, as far as the row goes.
#[inline(always)]
pub(crate) fn put<S: Simd>(s: S, vector: S::V, row: &mut [f32], first: usize) {
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

/// Partial results, so that operations need not wait for one another.
const PARTS: usize = 4;

/// `add` over the vectors of a row, which goes on with `fill`, from `start` on: in partial results, to be combined by the caller.
#[inline(always)]
fn fold<S: Simd>(s: S, row: &[f32], fill: f32, start: S::V, add: impl Fn(S::V, S::V) -> S::V) -> [S::V; PARTS] {
    let mut parts = [start; PARTS];
    let mut chunks = row.chunks_exact(PARTS * S::LANES);
    // Without a branch for what does not exist, the partial results stay in registers.
    for chunk in &mut chunks {
        for (i, part) in parts.iter_mut().enumerate() {
            *part = add(*part, s.load(&chunk[i * S::LANES..]));
        }
    }
    for (i, part) in parts.iter_mut().enumerate() {
        *part = add(*part, get_or(s, chunks.remainder(), i * S::LANES, fill));
    }
    parts
}

/// The sum of what `add` adds for the vectors of a row, which goes on with `fill`.
#[inline(always)]
pub(super) fn sum<S: Simd>(s: S, row: &[f32], fill: f32, add: impl Fn(S::V, S::V) -> S::V) -> f32 {
    let [a, b, c, d] = fold(s, row, fill, s.zero(), add);
    s.sum(s.add(s.add(a, b), s.add(c, d)))
}

/// The largest number of a row.
#[inline(always)]
pub(super) fn highest<S: Simd>(s: S, row: &[f32]) -> f32 {
    let lowest = f32::NEG_INFINITY;
    let [a, b, c, d] = fold(
        s,
        row,
        lowest,
        s.splat(lowest),
        #[inline(always)]
        |highest, x| s.max(highest, x),
    );
    s.highest(s.max(s.max(a, b), s.max(c, d)))
}
