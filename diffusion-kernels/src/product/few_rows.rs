//! Products of few rows, whose weight is read row by row, as it is stored.
//!
//! Bringing a weight into the order of tiles pays where many rows run past it. For few ones the operands change places: the
//! input is packed, its rows side by side in vectors, and the units of the weight are taken one by one: from the bytes of the file
//! where these are units, otherwise from some rows that were just widened. Every sum is made by the same additions as the other
//! way, so it is the same number.

use std::ops::Range;

use super::job::{Job, each};
use super::pack::{LINE, Piece, widen_rows};
use super::packed_input::{PackedInput, with_packed_input};
use super::weight::{Data, Weight};
use crate::memory::with_scratch;
use crate::simd::Simd;
use crate::tile::{Arith, Sums, tile_at};

/// More rows are not few.
pub(super) const MOST: usize = 288;

/// The product of at most [`MOST`] rows with a weight that has inputs.
pub(super) fn multiply_few<A: Arith, const MR: usize, const NV: usize>(arith: A, job: &Job<'_>) {
    let few = Few { job, units: units::<A>(job.weight) };
    // The more vectors, the fewer loads for each product; but vectors beyond the rows are computed for nothing.
    let vectors = job.rows.div_ceil(A::S::LANES);
    let width =
        if vectors < 3 { vectors } else { (3..=6).rev().min_by_key(|&width| vectors.next_multiple_of(width)).unwrap_or(3) };
    match (A::S::LANES, width) {
        (16, 1) => few.run::<A, 16, 1>(arith),
        (16, 2) => few.run::<A, 12, 2>(arith),
        (16, 3) => few.run::<A, 8, 3>(arith),
        (16, 4) => few.run::<A, 6, 4>(arith),
        (16, 5) => few.run::<A, 5, 5>(arith),
        (16, _) => few.run::<A, 4, 6>(arith),
        _ => few.run::<A, MR, NV>(arith),
    }
}

/// The weight as units, row by row, if it is stored so, and aligned.
fn units<'a, A: Arith>(weight: &Weight<'a>) -> Option<&'a [f32]> {
    let Data::Bytes(format, bytes) = weight.data else { return None };
    let [_, inputs] = weight.shape();
    if A::STORED != Some(format) || !inputs.is_multiple_of(A::PER_UNIT) {
        return None;
    }
    // SAFETY: any bits are an f32.
    let (before, units, after) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(units)
}

struct Few<'a> {
    job: &'a Job<'a>,
    /// All units of the weight, if it is stored so.
    units: Option<&'a [f32]>,
}

impl Few<'_> {
    /// By tiles of `MR` rows of the weight and `NV` vectors of rows of the input.
    fn run<A: Arith, const MR: usize, const NV: usize>(&self, arith: A) {
        let [outputs, _] = self.job.weight.shape();
        with_packed_input(arith, self.job, NV * A::S::LANES, |packed| {
            let columns = (outputs / (4 * rayon::current_num_threads())).clamp(MR, MR * 32).next_multiple_of(MR);
            each(outputs.div_ceil(columns), self.job.threads(), |task| {
                let columns = task * columns..outputs.min((task + 1) * columns);
                self.task::<A, MR, NV>(arith, &packed, columns);
            });
        });
    }

    fn task<A: Arith, const MR: usize, const NV: usize>(&self, arith: A, packed: &PackedInput<'_>, columns: Range<usize>) {
        let (s, lanes, width) = (arith.simd(), A::S::LANES, NV * A::S::LANES);
        let PackedInput { panels, part, units, .. } = *packed;
        let [outputs, inputs] = self.job.weight.shape();
        let row_len = panels * width;
        let padded = columns.len().next_multiple_of(lanes);
        // Sums: `[column][panel][width]`; after them some rows of the result, and some of the weight.
        with_scratch(padded * row_len + lanes * padded + MR * part, |scratch| {
            let (sums, rest) = scratch.split_at_mut(padded * row_len);
            let (out_rows, widened) = rest.split_at_mut(lanes * padded);
            for start in (0..units).step_by(part) {
                let len = packed.len_from(start);
                let state = if start > 0 { Sums::Added } else { Sums::New };
                let mut column = columns.start;
                while column < columns.end {
                    let rows = if columns.end - column < MR { 1 } else { MR };
                    let (weight, stride) = if let Some(all) = self.units {
                        let weight = &all[column * units + start..];
                        for row in 0..rows {
                            for line in (0..len * size_of::<f32>()).step_by(LINE) {
                                let next = (rows + row) * units * size_of::<f32>() + line;
                                s.prefetch(weight.as_ptr().wrapping_byte_add(next).cast());
                            }
                        }
                        (weight, units)
                    } else {
                        let numbers = start * A::PER_UNIT..inputs.min((start + len) * A::PER_UNIT);
                        let piece = Piece { rows: column..column + rows, numbers, width: rows };
                        widen_rows(arith, self.job.weight, &piece, widened);
                        (&*widened, len)
                    };
                    arith.vectorize(
                        #[inline(always)]
                        || {
                            for panel in 0..panels {
                                let b = packed.panels(start, panel, 1);
                                let c = &mut sums[(column - columns.start) * row_len + panel * width..];
                                if rows == MR {
                                    tile_at::<A, MR, NV>(arith, len, weight, [stride, 1], b, c, row_len, state);
                                } else {
                                    tile_at::<A, 1, NV>(arith, len, weight, [stride, 1], b, c, row_len, state);
                                }
                            }
                        },
                    );
                    column += rows;
                }
            }
            arith.vectorize(
                #[inline(always)]
                || {
                    for first_row in (0..self.job.rows).step_by(lanes) {
                        for column in (0..padded).step_by(lanes) {
                            let mut block = s.zero_block();
                            for (i, vector) in block.as_mut().iter_mut().enumerate() {
                                *vector = s.load(&sums[(column + i) * row_len + first_row..]);
                            }
                            let block = s.transpose(block);
                            for (i, vector) in block.as_ref().iter().enumerate() {
                                s.store(*vector, &mut out_rows[i * padded + column..]);
                            }
                        }
                        let rows = first_row..self.job.rows.min(first_row + lanes);
                        for (row, sums) in rows.zip(out_rows.chunks_exact(padded)) {
                            // SAFETY: no other task has these columns.
                            let out = unsafe { self.job.out.part(row * outputs + columns.start, columns.len()) };
                            self.job.epilogue.write(s, self.job.weight.scale, sums, [row, columns.start], outputs, out);
                        }
                    }
                },
            );
        });
    }
}
