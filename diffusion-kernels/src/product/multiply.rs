//! The loops of a product.
//!
//! The input is cut into panels of rows once. Each task then takes some columns of the result: it packs the rows of the weight
//! that make them into its cache, a part of their length at a time, and runs the panels of the input past them.
//!
//! Where a sum is cut into parts depends on its length alone, so every number is made by the same additions however many rows
//! there are. Few rows take tiles of few rows, or [`multiply_few`]; the weight is read once in all cases.

use super::few_rows::{MOST, multiply_few};
use super::job::{Job, each};
use super::pack::{Piece, pack_weight};
use super::packed_input::{PackedInput, with_packed_input};
use crate::memory::with_scratch;
use crate::simd::Simd;
use crate::tile::{Arith, Sums, tile};

/// Panels of the weight that a task takes, at most: so much is packed for each time the input is read.
const PANELS: usize = 4;
/// Rows that a task takes, at most: their sums are kept until they are complete.
const TASK_ROWS: usize = 2048;
/// Rows that a task takes at least, where rows are divided among tasks: for fewer, packing the weight again takes too long.
const MIN_TASK_ROWS: usize = 128;

/// The product by tiles of `MR` rows and `NV` vectors, or fewer rows where there are fewer.
pub(super) fn multiply<A: Arith, const MR: usize, const NV: usize>(arith: A, job: &Job<'_>) {
    match job.rows {
        0 => {}
        1 => multiply_by::<A, 1, NV>(arith, job),
        2 => multiply_by::<A, 2, NV>(arith, job),
        3 | 4 => multiply_by::<A, 4, NV>(arith, job),
        // Without inputs there is nothing to read.
        5..=MOST if job.weight.shape()[1] > 0 => multiply_few::<A, MR, NV>(arith, job),
        _ => multiply_by::<A, MR, NV>(arith, job),
    }
}

/// How a product is cut into tasks.
struct Plan {
    /// Columns, a multiple of a panel.
    columns: usize,
    /// Rows, a multiple of a panel.
    rows: usize,
}

impl Plan {
    fn new(rows: usize, outputs: usize, panel: [usize; 2]) -> Self {
        let wanted = 4 * rayon::current_num_threads();
        let panels = outputs.div_ceil(panel[1]);
        // Enough tasks for the threads to finish together.
        let columns = panel[1] * PANELS.min(panels / wanted).max(1);
        let column_tasks = outputs.div_ceil(columns);
        let per_task = (rows * column_tasks).div_ceil(wanted).clamp(MIN_TASK_ROWS, TASK_ROWS);
        Self { columns, rows: rows.div_ceil(rows.div_ceil(per_task)).next_multiple_of(panel[0]) }
    }
}

fn multiply_by<A: Arith, const MR: usize, const NV: usize>(arith: A, job: &Job<'_>) {
    let width = NV * A::S::LANES;
    let [outputs, _] = job.weight.shape();
    let plan = Plan::new(job.rows, outputs, [MR, width]);
    with_packed_input(arith, job, MR, |packed| {
        let row_tasks = job.rows.div_ceil(plan.rows);
        each(row_tasks * outputs.div_ceil(plan.columns), job.threads(), |index| {
            let (first_row, first_column) = (index % row_tasks * plan.rows, index / row_tasks * plan.columns);
            let rows = first_row..job.rows.min(first_row + plan.rows);
            let columns = first_column..outputs.min(first_column + plan.columns);
            run_task::<A, MR, NV>(arith, job, &packed, rows, columns);
        });
    });
}

fn run_task<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    job: &Job<'_>,
    packed: &PackedInput<'_>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) {
    let width = NV * A::S::LANES;
    let (part, units) = (packed.part, packed.units);
    let [_, inputs] = job.weight.shape();
    let panels = columns.len().div_ceil(width);
    let row_panels = rows.len().div_ceil(MR);
    let weight_len = panels * width * part;
    with_scratch(weight_len + row_panels * MR * panels * width, |scratch| {
        // Sums: `[row panel][panel][MR][width]`.
        let (weights, sums) = scratch.split_at_mut(weight_len);
        // Without inputs there is one part too, an empty one.
        for start in (0..units.max(1)).step_by(part) {
            let len = packed.len_from(start);
            let numbers = start * A::PER_UNIT..inputs.min((start + len) * A::PER_UNIT);
            for (panel, out) in weights.chunks_exact_mut(width * part).enumerate() {
                let first = columns.start + panel * width;
                let piece = Piece { rows: first..columns.end.min(first + width), numbers: numbers.clone(), width };
                pack_weight(arith, job.weight, &piece, out);
            }
            let input = packed.panels(start, rows.start / MR, row_panels);
            let state = if start > 0 { Sums::Added } else { Sums::New };
            let is_complete = start + len == units;
            arith.vectorize(
                #[inline(always)]
                || {
                    for (row_panel, sums) in sums.chunks_exact_mut(MR * panels * width).enumerate() {
                        let a = &input[row_panel * len * MR..][..len * MR];
                        for (panel, sums) in sums.chunks_exact_mut(MR * width).enumerate() {
                            let b = &weights[panel * width * part..][..width * part];
                            tile::<A, MR, NV, 1, MR>(arith, len, a, b, sums, width, state);
                            if is_complete {
                                let first = [rows.start + row_panel * MR, columns.start + panel * width];
                                write_tile(arith, job, sums, width, &Tile { first, end: [rows.end, columns.end] });
                            }
                        }
                    }
                },
            );
        }
    });
}

/// Write the complete sums of a tile of `width` columns, as far as they exist.
#[inline(always)]
fn write_tile<A: Arith>(arith: A, job: &Job<'_>, sums: &[f32], width: usize, tile: &Tile) {
    let [outputs, _] = job.weight.shape();
    let columns = width.min(tile.end[1] - tile.first[1]);
    for (row, sums) in (tile.first[0]..tile.end[0]).zip(sums.chunks_exact(width)) {
        // SAFETY: no other task has these rows of these columns.
        let out = unsafe { job.out.part(row * outputs + tile.first[1], columns) };
        job.epilogue.write(arith.simd(), job.weight.scale, sums, [row, tile.first[1]], outputs, out);
    }
}

/// Row and column that a tile begins at, and those that its task ends before.
struct Tile {
    first: [usize; 2],
    end: [usize; 2],
}
