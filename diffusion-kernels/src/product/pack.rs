//! Operands in the order that tiles read them.

use std::ops::Range;

use super::decode::{
    Decode, Floats, StoredBf16, StoredE4M3, StoredE5M2, StoredF16, StoredF32, StoredQ4_0, StoredQ4K, StoredQ8_0,
};
use super::weight::{Data, Weight, WeightFormat};
use crate::memory::with_scratch;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::Arith;

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
const LINE: usize = 64;

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

/// A piece of the input.
pub(super) fn pack_input<A: Arith>(arith: A, input: Floats<'_>, piece: &Piece, out: &mut [f32]) {
    arith.vectorize(
        #[inline(always)]
        || pack(arith, input, piece, out),
    );
}

/// A piece of a weight.
pub(crate) fn pack_weight<A: Arith>(arith: A, weight: &Weight<'_>, piece: &Piece, out: &mut [f32]) {
    let [_, row_len] = weight.shape();
    let (format, stored) = match weight.data {
        Data::Bytes(format, bytes) => (format, bytes),
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
                pack_input(arith, Floats { stored: widened, row_len: len }, &piece, out);
            });
        }
    };
    arith.vectorize(
        #[inline(always)]
        || match format {
            WeightFormat::F32 => pack(arith, StoredF32 { stored, row_len }, piece, out),
            WeightFormat::F16 => pack(arith, StoredF16 { stored, row_len }, piece, out),
            WeightFormat::Bf16 => pack(arith, StoredBf16 { stored, row_len }, piece, out),
            WeightFormat::F8E4M3 => pack(arith, StoredE4M3 { stored, row_len }, piece, out),
            WeightFormat::F8E5M2 => pack(arith, StoredE5M2 { stored, row_len }, piece, out),
            WeightFormat::Q8_0 => pack(arith, StoredQ8_0 { stored, row_len }, piece, out),
            WeightFormat::Q4_0 => pack(arith, StoredQ4_0 { stored, row_len }, piece, out),
            WeightFormat::Q4_K => pack(arith, StoredQ4K { stored, row_len }, piece, out),
        },
    );
}
