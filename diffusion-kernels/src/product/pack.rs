//! Operands in the order that tiles read them.

use std::ops::Range;

use super::decode::{
    Decode, Floats, StoredBf16, StoredE4M3, StoredE5M2, StoredF16, StoredF32, StoredQ4_0, StoredQ4K, StoredQ8_0,
};
use super::weight::{Data, Weight};
use crate::WeightFormat;
use crate::memory::with_scratch;
use crate::rows::{get, put};
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Arith, F32};

/// A piece of a matrix, and how many rows a panel of it has.
#[derive(Clone)]
pub(crate) struct Piece {
    /// Rows that exist.
    pub(crate) rows: Range<usize>,
    /// Numbers of each row.
    pub(crate) numbers: Range<usize>,
    /// Rows of the panel: those that do not exist are zero.
    pub(crate) width: usize,
}

/// Bytes of a row that are asked for before they are needed: so many rows at a time are more than the processor foresees itself.
const AHEAD: usize = 512;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// A piece as `[unit][width]`.
#[inline(always)]
fn pack<A: Arith, D: Decode>(arith: A, matrix: D, piece: &Piece, out: &mut [f32]) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let Piece { rows, numbers, width } = piece.clone();
    let units = numbers.len().div_ceil(A::PER_UNIT);
    let out = &mut out[..units * width];
    let row_bytes = lanes * A::PER_UNIT * D::BLOCK.1 * size_of::<D::Stored>() / D::BLOCK.0;
    for group in (0..width).step_by(lanes) {
        let mut parts: [&[D::Stored]; MAX_LANES] = [&[]; MAX_LANES];
        let existing = rows.len().saturating_sub(group).min(lanes);
        for (row, part) in rows.clone().skip(group).zip(&mut parts[..existing]) {
            *part = matrix.part(row, &numbers);
        }
        for unit in (0..units).step_by(lanes) {
            let first = unit * A::PER_UNIT;
            let ahead = first / D::BLOCK.0 * D::BLOCK.1 * size_of::<D::Stored>() + AHEAD;
            for part in &parts[..existing] {
                for line in (0..row_bytes).step_by(LINE) {
                    s.prefetch(part.as_ptr().wrapping_byte_add(ahead + line).cast());
                }
            }
            let mut block = s.zero_block();
            let vectors = block.as_mut().iter_mut();
            if first + lanes * A::PER_UNIT > numbers.len() {
                for (vector, part) in vectors.zip(&parts[..existing]) {
                    *vector = D::units::<_, false>(arith, part, first);
                }
            } else if existing < lanes {
                for (vector, part) in vectors.zip(&parts[..existing]) {
                    *vector = D::units::<_, true>(arith, part, first);
                }
            } else {
                // As many as the compiler knows, so that the loop is unrolled.
                for (vector, part) in vectors.zip(&parts[..lanes]) {
                    *vector = D::units::<_, true>(arith, part, first);
                }
            }
            let block = s.transpose(block);
            let out = &mut out[unit * width + group..];
            if units - unit >= lanes && width >= lanes {
                for (i, vector) in block.as_ref().iter().enumerate() {
                    s.store(*vector, &mut out[i * width..]);
                }
            } else {
                for (i, vector) in block.as_ref().iter().enumerate().take(units - unit) {
                    // A panel that is narrower than a vector: what is too much is written over by the next.
                    let out = &mut out[i * width..];
                    if out.len() >= lanes { s.store(*vector, out) } else { s.store_part(*vector, out) }
                }
            }
        }
    }
}

/// The units of a piece, row by row, each row as many as the piece has.
#[inline(always)]
fn widen<A: Arith, D: Decode>(arith: A, matrix: D, piece: &Piece, out: &mut [f32]) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let units = piece.numbers.len().div_ceil(A::PER_UNIT);
    // The rows after these are asked for: what is read of each is too short for the processor to foresee it.
    let ahead = piece.rows.len() * matrix.row_len() / D::BLOCK.0 * D::BLOCK.1 * size_of::<D::Stored>();
    for (row, out) in piece.rows.clone().zip(out.chunks_exact_mut(units)) {
        let part = matrix.part(row, &piece.numbers);
        for line in (0..size_of_val(part)).step_by(LINE) {
            s.prefetch(part.as_ptr().wrapping_byte_add(ahead + line).cast());
        }
        for unit in (0..units).step_by(lanes) {
            let first = unit * A::PER_UNIT;
            if first + lanes * A::PER_UNIT > piece.numbers.len() {
                s.store_part(D::units::<_, false>(arith, part, first), &mut out[unit..units.min(unit + lanes)]);
            } else {
                s.store(D::units::<_, true>(arith, part, first), &mut out[unit..]);
            }
        }
    }
}

/// What becomes of a piece.
#[derive(Clone, Copy)]
enum Order {
    /// [`pack`]
    Panel,
    /// [`widen`]
    Rows,
}

#[inline(always)]
fn bring<A: Arith, D: Decode>(arith: A, matrix: D, piece: &Piece, order: Order, out: &mut [f32]) {
    match order {
        Order::Panel => pack(arith, matrix, piece, out),
        Order::Rows => widen(arith, matrix, piece, out),
    }
}

/// A piece of the input, as a panel.
pub(super) fn pack_input<A: Arith>(arith: A, input: Floats<'_>, piece: &Piece, out: &mut [f32]) {
    bring_floats(arith, input, piece, Order::Panel, out);
}

fn bring_floats<A: Arith>(arith: A, floats: Floats<'_>, piece: &Piece, order: Order, out: &mut [f32]) {
    arith.vectorize(
        #[inline(always)]
        || bring(arith, floats, piece, order, out),
    );
}

/// A piece of a weight, as a panel.
pub(crate) fn pack_weight<A: Arith>(arith: A, weight: &Weight<'_>, piece: &Piece, out: &mut [f32]) {
    bring_weight(arith, weight, piece, Order::Panel, out);
}

/// A piece of a weight as units, row by row, each row as many as the piece has.
pub(super) fn widen_rows<A: Arith>(arith: A, weight: &Weight<'_>, piece: &Piece, out: &mut [f32]) {
    bring_weight(arith, weight, piece, Order::Rows, out);
}

fn bring_weight<A: Arith>(arith: A, weight: &Weight<'_>, piece: &Piece, order: Order, out: &mut [f32]) {
    let [_, row_len] = weight.shape();
    let (format, stored) = match weight.data {
        Data::Bytes(format, bytes) => (format, bytes),
        Data::Transposed(stored) => return bring_transposed(arith, stored, piece, order, out),
        Data::Widened(rows) => {
            // Pieces begin at multiples of the block length, and end there or where the row does, which is one too.
            let len = piece.numbers.len();
            if len == 0 {
                return;
            }
            return with_scratch(piece.rows.len() * len, |widened| {
                for (row, out) in piece.rows.clone().zip(widened.chunks_exact_mut(len)) {
                    rows.widen(row, piece.numbers.start, out);
                }
                let piece = Piece { rows: 0..piece.rows.len(), numbers: 0..len, width: piece.width };
                bring_floats(arith, Floats { stored: widened, row_len: len }, &piece, order, out);
            });
        }
    };
    arith.vectorize(
        #[inline(always)]
        || match format {
            WeightFormat::F32 => bring(arith, StoredF32 { stored, row_len }, piece, order, out),
            WeightFormat::F16 => bring(arith, StoredF16 { stored, row_len }, piece, order, out),
            WeightFormat::Bf16 => bring(arith, StoredBf16 { stored, row_len }, piece, order, out),
            WeightFormat::F8E4M3 => bring(arith, StoredE4M3 { stored, row_len }, piece, order, out),
            WeightFormat::F8E5M2 => bring(arith, StoredE5M2 { stored, row_len }, piece, order, out),
            WeightFormat::Q8_0 => bring(arith, StoredQ8_0 { stored, row_len }, piece, order, out),
            WeightFormat::Q4_0 => bring(arith, StoredQ4_0 { stored, row_len }, piece, order, out),
            WeightFormat::Q4_K => bring(arith, StoredQ4K { stored, row_len }, piece, order, out),
        },
    );
}

/// A piece of the transpose of `stored`: its rows are columns there.
fn bring_transposed<A: Arith>(arith: A, stored: &Weight<'_>, piece: &Piece, order: Order, out: &mut [f32]) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let Piece { rows, numbers, width } = piece.clone();
    let width = match order {
        Order::Panel => width,
        Order::Rows => rows.len(),
    };
    // Numbers that are stored together are widened together.
    let block = stored.block_len();
    let columns = rows.start / block * block..rows.end.next_multiple_of(block);
    let (len, skipped, units) = (columns.len(), rows.start - columns.start, numbers.len().div_ceil(A::PER_UNIT));
    with_scratch(numbers.len() * len, |widened| {
        let wanted = Piece { rows: numbers.clone(), numbers: columns.clone(), width: 0 };
        bring_weight(F32(s), stored, &wanted, Order::Rows, widened);
        let row = |index: usize| widened.get(index * len + skipped..index * len + skipped + rows.len()).unwrap_or_default();
        arith.vectorize(
            #[inline(always)]
            || {
                for unit in 0..units {
                    let (upper, lower) =
                        (row(unit * A::PER_UNIT), if A::PER_UNIT > 1 { row(unit * A::PER_UNIT + 1) } else { &[] });
                    for first in (0..width).step_by(lanes) {
                        let stacked = arith.stack(
                            get(s, upper, first),
                            #[inline(always)]
                            || get(s, lower, first),
                        );
                        match order {
                            Order::Panel => put(s, stacked, &mut out[unit * width..(unit + 1) * width], first),
                            Order::Rows => {
                                let mut column = [0.0; MAX_LANES];
                                s.store(stacked, &mut column);
                                for (row, value) in (first..rows.len()).zip(&column[..lanes]) {
                                    out[row * units + unit] = *value;
                                }
                            }
                        }
                    }
                }
            },
        );
    });
}
