//! The loops of a convolution.
//!
//! A task takes some rows of the result and some of its channels. A block of planes at a time, it stages the rows of the image
//! that they need, and runs the kernels past them: tiles read the staged rows in place, once for every tap, so nothing is written
//! out nine times.

use std::ops::Range;

use rayon::prelude::*;

use super::images::Images;
use super::pack::{Packed, with_packed};
use super::parameters::Convolution;
use super::stage::Staging;
use crate::memory::{Disjoint, with_scratch};
use crate::product::Residual;
use crate::rows::{get, put};
use crate::simd::Simd;
use crate::tile::{Arith, Offsets, Sums, Vector, taps};

/// Rows of the result, before they are doubled, that a task takes: two more rows are staged than are needed once.
const ROWS: usize = 4;
/// Panels of channels that a task takes at least, where channels are divided among tasks: the rows are staged for each.
const MIN_PANELS: usize = 4;

/// A convolution to be computed, its lengths checked.
pub(super) struct Job<'a> {
    pub(super) images: Images<'a>,
    pub(super) convolution: &'a Convolution<'a>,
    pub(super) out: Disjoint<'a>,
    /// Of the result.
    pub(super) width: usize,
}

/// How a convolution is cut into tasks.
struct Plan {
    /// Rows of the result, before they are doubled.
    height: usize,
    /// Vectors of a row.
    vectors: usize,
    staging: Staging,
    offsets: Vec<Offsets>,
}

/// What a task computes.
struct Strip {
    image: usize,
    rows: Range<usize>,
    panels: Range<usize>,
}

/// The convolution by tiles of `MR` channels and `NV` vectors.
pub(super) fn convolve<A: Arith, const MR: usize, const NV: usize>(arith: A, job: &Job<'_>) {
    let [count, channels, height, width] = job.images.shape;
    let [outputs, _] = job.convolution.weight.shape();
    let geometry = job.convolution.window.geometry();
    let [height, width] = job.convolution.window.output_size([height, width]).map(|side| side / geometry.parities);
    if count * outputs * height * width == 0 {
        return;
    }
    let rows = ROWS.min(height);
    let vectors = width.div_ceil(A::S::LANES);
    let staging = Staging::new::<A::S>(geometry, rows, vectors);
    let panels = outputs.div_ceil(MR);
    let strips = height.div_ceil(rows);
    // Enough tasks for the threads to finish together.
    let wanted = (4 * rayon::current_num_threads()).div_ceil(count * strips);
    let task_panels = panels.div_ceil(wanted).max(MIN_PANELS).min(panels);
    let offsets = staging.offsets(geometry.block().min(channels.div_ceil(A::PER_UNIT)));
    let plan = Plan { height, vectors, staging, offsets };
    with_packed::<A, MR>(arith, &job.convolution.weight, geometry, |packed| {
        let panel_tasks = panels.div_ceil(task_panels);
        (0..count * strips * panel_tasks).into_par_iter().with_max_len(1).for_each(|index| {
            let (index, panel) = (index / panel_tasks, index % panel_tasks * task_panels);
            let (image, row) = (index / strips, index % strips * rows);
            let strip = Strip { image, rows: row..height.min(row + rows), panels: panel..panels.min(panel + task_panels) };
            run_strip::<A, MR, NV>(arith, job, &plan, packed, &strip);
        });
    });
}

fn run_strip<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    job: &Job<'_>,
    plan: &Plan,
    packed: Packed<'_>,
    strip: &Strip,
) {
    let geometry = job.convolution.window.geometry();
    let planes = job.images.shape[1].div_ceil(A::PER_UNIT);
    let plane_len = plan.staging.plane_len();
    let kernels = plan.offsets.len();
    let vectors = strip.rows.len() * plan.vectors;
    let tile_len = MR * NV * A::S::LANES;
    let group_len = strip.panels.len() * kernels * tile_len;
    let (spare_len, staged_len) = (plan.staging.spare_len(), geometry.block().min(planes.max(1)) * plane_len);
    with_scratch(spare_len + staged_len + vectors.div_ceil(NV) * group_len, |scratch| {
        let (spare, scratch) = scratch.split_at_mut(spare_len);
        // Sums: `[group of vectors][panel][kernel][MR][NV][LANES]`.
        let (staged, sums) = scratch.split_at_mut(staged_len);
        for block in geometry.blocks(planes) {
            let state = if block.start > 0 { Sums::Added } else { Sums::New };
            arith.vectorize(
                #[inline(always)]
                || {
                    for (plane, staged) in block.clone().zip(staged.chunks_exact_mut(plane_len)) {
                        plan.staging.stage(arith, &job.images, [strip.image, plane, strip.rows.start], spare, staged);
                    }
                    for (group, sums) in sums.chunks_exact_mut(group_len).enumerate() {
                        let mut bases = [&*staged; NV];
                        for (j, base) in bases.iter_mut().enumerate() {
                            // What is too much in the last group is not written.
                            let vector = (group * NV + j).min(vectors - 1);
                            let first = plan.staging.base(vector / plan.vectors, vector % plan.vectors * A::S::LANES);
                            *base = &staged[first..];
                        }
                        for (panel, sums) in strip.panels.clone().zip(sums.chunks_exact_mut(kernels * tile_len)) {
                            for (kernel, offsets) in plan.offsets.iter().enumerate() {
                                let a = packed.panel(kernel, &block, panel);
                                let c = &mut sums[kernel * tile_len..][..tile_len];
                                taps::<A, MR, NV>(arith, a.len() / MR, a, offsets, bases, c, state);
                            }
                            if block.end == planes {
                                write_tile::<A, MR, NV>(arith, job, plan, strip, sums, [panel, group]);
                            }
                        }
                    }
                },
            );
        }
    });
}

/// Write the complete sums of a tile, as far as they exist.
#[inline(always)]
fn write_tile<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    job: &Job<'_>,
    plan: &Plan,
    strip: &Strip,
    sums: &[f32],
    [panel, group]: [usize; 2],
) {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let [outputs, _] = job.convolution.weight.shape();
    let parities = job.convolution.window.geometry().parities;
    let (height, width) = (plan.height * parities, job.width);
    for i in 0..MR.min(outputs - panel * MR) {
        let channel = panel * MR + i;
        let first_row = (strip.image * outputs + channel) * height;
        for j in 0..NV.min(strip.rows.len() * plan.vectors - group * NV) {
            let vector = group * NV + j;
            let (row, column) = (strip.rows.start + vector / plan.vectors, vector % plan.vectors * lanes);
            let vector_of = |kernel: usize| ((kernel * MR + i) * NV + j) * lanes;
            if parities == 1 {
                let at = (first_row + row) * width + column;
                write(arith, job, channel, s.load(&sums[vector_of(0)..]), at, lanes.min(width - column));
            } else {
                for parity in 0..2 {
                    let [even, odd] = [vector_of(2 * parity), vector_of(2 * parity + 1)];
                    let [low, high] = s.interleave(s.load(&sums[even..]), s.load(&sums[odd..]));
                    let at = (first_row + 2 * row + parity) * width + 2 * column;
                    let existing = width - 2 * column;
                    write(arith, job, channel, low, at, lanes.min(existing));
                    if existing > lanes {
                        write(arith, job, channel, high, at + lanes, lanes.min(existing - lanes));
                    }
                }
            }
        }
    }
}

/// Write a vector of sums of a channel, as far as `len` goes.
#[inline(always)]
fn write<A: Arith>(arith: A, job: &Job<'_>, channel: usize, sums: Vector<A>, at: usize, len: usize) {
    let s = arith.simd();
    // SAFETY: no other task has these rows of these channels.
    let out = unsafe { job.out.part(at, len) };
    let mut value = s.mul(sums, s.splat(job.convolution.weight.scale));
    if let Some(bias) = job.convolution.bias {
        value = s.add(value, s.splat(bias[channel]));
    }
    value = match job.convolution.residual {
        Residual::None => value,
        Residual::Out => s.add(value, get(s, out, 0)),
        Residual::From(residual) => s.add(value, get(s, &residual[at..at + len], 0)),
    };
    put(s, job.convolution.activation.apply(s, value), out, 0);
}
