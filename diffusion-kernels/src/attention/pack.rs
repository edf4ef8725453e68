//! Operands in the order that tiles read them.

use super::tokens::Rows;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Arith, Vector};

/// Tokens that are asked for before they are needed.
const AHEAD: usize = 32;

/// A vector of what there is from `first` on, then zeros.
#[inline(always)]
fn load<S: Simd>(s: S, row: &[f32], first: usize) -> S::V {
    match row.get(first..) {
        Some(rest) if rest.len() >= S::LANES => s.load(rest),
        // Masked loads where there is no memory are right, but take hundreds of cycles.
        Some(rest) if !rest.is_empty() => s.load_part(rest),
        _ => s.zero(),
    }
}

/// Units of the numbers of a token from `first` on.
#[inline(always)]
fn units<A: Arith>(arith: A, row: &[f32], first: usize) -> Vector<A> {
    let s = arith.simd();
    arith.units(
        load(s, row, first),
        #[inline(always)]
        || load(s, row, first + A::S::LANES),
    )
}

/// `[token][row_len]`: the units of each of `count` tokens; those between the numbers and the end of the row are zero.
///
/// `row_len` is several vectors, and at least as many as the numbers fill.
#[inline(always)]
pub(super) fn pack_rows<A: Arith>(arith: A, rows: Rows<'_>, [first, count]: [usize; 2], row_len: usize, out: &mut [f32]) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    for (token, out) in (first..first + count).zip(out.chunks_exact_mut(row_len)) {
        let row = rows.get(token);
        for (unit, out) in (0..row_len).step_by(lanes).zip(out.chunks_exact_mut(lanes)) {
            s.store(units(arith, row, unit * A::PER_UNIT), out);
        }
    }
}

/// `[unit][width]`: the numbers of each of `width` tokens one below the other, for sums over them.
///
/// `width` is several vectors. Tokens that do not exist are zero.
#[inline(always)]
pub(super) fn pack_across<A: Arith>(arith: A, rows: Rows<'_>, first: usize, width: usize, out: &mut [f32]) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let count = rows.head_dim.div_ceil(A::PER_UNIT);
    let out = &mut out[..count * width];
    for group in (0..width).step_by(lanes) {
        let mut tokens: [&[f32]; MAX_LANES] = [&[]; MAX_LANES];
        for (i, token) in tokens.iter_mut().enumerate().take(lanes) {
            *token = rows.get(first + group + i);
            rows.prefetch(s, first + group + i + AHEAD);
        }
        let tokens = &tokens[..lanes];
        let all_exist = tokens.iter().all(|token| !token.is_empty());
        for unit in (0..count).step_by(lanes) {
            let number = unit * A::PER_UNIT;
            let mut block = s.zero_block();
            let out = &mut out[unit * width + group..];
            // Loops of a fixed length, without branches, stay in registers and let many rows be fetched at once.
            if all_exist && number + lanes * A::PER_UNIT <= rows.head_dim {
                for (vector, token) in block.as_mut().iter_mut().zip(tokens) {
                    *vector = arith.units(
                        s.load(&token[number..]),
                        #[inline(always)]
                        || s.load(&token[number + lanes..]),
                    );
                }
                for (i, vector) in s.transpose(block).as_ref().iter().enumerate() {
                    s.store(*vector, &mut out[i * width..]);
                }
            } else {
                for (vector, token) in block.as_mut().iter_mut().zip(tokens) {
                    *vector = units(arith, token, number);
                }
                for (i, vector) in s.transpose(block).as_ref().iter().enumerate().take(count - unit) {
                    s.store(*vector, &mut out[i * width..]);
                }
            }
        }
    }
}

/// `[panel of numbers][unit of tokens][width of the panel]`: tokens one below the other, for sums over `len` of them.
///
/// Panels are `width` numbers wide, but for the last, which is as many vectors as are needed, and have room for `capacity` units.
#[inline(always)]
pub(super) fn pack_down<A: Arith>(
    arith: A,
    rows: Rows<'_>,
    [first, len]: [usize; 2],
    [width, capacity]: [usize; 2],
    out: &mut [f32],
) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let padded = rows.head_dim.next_multiple_of(lanes);
    for unit in 0..len.div_ceil(A::PER_UNIT) {
        let token = first + unit * A::PER_UNIT;
        let upper = rows.get(token);
        let lower = if A::PER_UNIT > 1 { rows.get(token + 1) } else { upper };
        for i in 0..A::PER_UNIT {
            rows.prefetch(s, token + AHEAD + i);
        }
        let is_whole = upper.len() == padded && lower.len() == padded;
        for start in (0..padded).step_by(width) {
            let width = width.min(padded - start);
            let out = &mut out[start * capacity + unit * width..][..width];
            if is_whole {
                let (upper, lower) = (&upper[start..start + width], &lower[start..start + width]);
                let rows = upper.chunks_exact(lanes).zip(lower.chunks_exact(lanes));
                for ((upper, lower), out) in rows.zip(out.chunks_exact_mut(lanes)) {
                    let vector = arith.stack(
                        s.load(upper),
                        #[inline(always)]
                        || s.load(lower),
                    );
                    s.store(vector, out);
                }
            } else {
                for (i, out) in out.chunks_exact_mut(lanes).enumerate() {
                    let number = start + i * lanes;
                    let vector = arith.stack(
                        load(s, upper, number),
                        #[inline(always)]
                        || load(s, lower, number),
                    );
                    s.store(vector, out);
                }
            }
        }
    }
}
