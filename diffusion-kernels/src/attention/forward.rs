//! The loops of attention.
//!
//! Keys and values of some heads are cut into blocks and packed. Each task then takes some queries of a head past all blocks:
//! scores, their exponentials and the product with the values, all of which stay in the second-level cache, with the running
//! maximum and sum of flash attention (arXiv 2205.14135, algorithm 1).
//!
//! How keys are cut into blocks depends on the size of a head alone, and a query's numbers are made by the same operations
//! wherever it stands, so results depend neither on the batch nor on the number of threads.

use rayon::prelude::*;

use super::inputs::Attention;
use super::pack::{pack_across, pack_down, pack_rows};
use super::softmax::{Scores, log_sum_exp, softmax_row};
use super::tokens::{Head, Rows, RowsMut, Tokens};
use crate::memory::{Disjoint, with_scratch};
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Arith, Sums, tile_at};

/// Keys of a block, at most; the length of a row of scores.
pub(super) const ROW: usize = 256;
/// Queries whose scores are computed before they are used: a multiple of the rows of every tile.
const GROUP: usize = 96;
/// Tasks for each thread, so that threads finish together.
const TASKS: usize = 8;
/// Numbers of packed keys and values that a third-level cache has room for.
const CACHED: usize = 2 << 20;
/// Numbers that are asked for ahead, at most: half of a first-level cache.
const AHEAD: usize = 12 << 10;
/// Attention of this many multiplications and fewer is not worth waking a thread.
const SMALL: usize = 1 << 15;

/// Attention to be computed, its lengths checked.
pub(super) struct Job<'a> {
    pub(super) inputs: &'a Attention<'a>,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) out: RowsMut<'a>,
    pub(super) log_sum_exp: Option<Disjoint<'a>>,
}

impl Job<'_> {
    fn heads(&self) -> usize {
        self.inputs.batch * self.inputs.heads
    }
    fn head(&self, index: usize) -> Head {
        Head { batch: index / self.inputs.heads, head: index % self.inputs.heads }
    }
    fn rows<'b>(&'b self, segments: &'b [Tokens<'b>], head: Head) -> Rows<'b> {
        Rows { segments, head, head_dim: self.inputs.head_dim }
    }
}

/// How a head is cut.
#[derive(Clone, Copy)]
struct Plan {
    /// Units of the numbers of a token.
    units: usize,
    /// The same, in whole vectors.
    row_len: usize,
    /// Numbers of a token, in whole vectors.
    padded: usize,
    /// Queries of a task.
    queries: usize,
    /// Keys of a block.
    keys: usize,
    /// Blocks of keys.
    blocks: usize,
    /// Numbers of scratch for a block's keys.
    keys_len: usize,
    /// Numbers of scratch for a block's values.
    values_len: usize,
}

impl Plan {
    fn new<A: Arith>(job: &Job<'_>) -> Self {
        let head_dim = job.inputs.head_dim;
        let units = head_dim.div_ceil(A::PER_UNIT);
        let padded = head_dim.next_multiple_of(A::S::LANES);
        // A block of keys and values, and the queries of a task with their sums, fit into a second-level cache of 1 MiB.
        let (queries, keys) = (if head_dim <= 160 { 96 } else { 192 }, ROW);
        let blocks = job.keys.div_ceil(keys);
        Self {
            units,
            row_len: units.next_multiple_of(A::S::LANES),
            padded,
            queries,
            keys,
            blocks,
            keys_len: keys * units,
            values_len: keys / A::PER_UNIT * padded,
        }
    }

    /// Numbers of scratch for all keys and values of a head.
    fn head_len(self) -> usize {
        self.blocks * (self.keys_len + self.values_len)
    }
}

/// Attention by tiles of `MR` rows and `NV` vectors.
pub(super) fn forward<A: Arith, const MR: usize, const NV: usize>(arith: A, job: &Job<'_>) {
    const { assert!(GROUP.is_multiple_of(MR) && NV <= 4 && (ROW / 2).is_multiple_of(2 * MAX_LANES)) };
    let plan = Plan::new::<A>(job);
    let tasks = job.queries.div_ceil(plan.queries);
    if job.heads() * tasks == 0 {
        return;
    }
    let is_small = job.heads() * job.queries * job.keys * job.inputs.head_dim <= SMALL;
    let each = |count: usize, body: &(dyn Fn(usize) + Sync + Send)| {
        if is_small { (0..count).for_each(body) } else { (0..count).into_par_iter().with_max_len(1).for_each(body) }
    };
    // As many heads at a time as give all threads enough to do, or more where all that is packed stays in the cache.
    let wanted = (TASKS * rayon::current_num_threads()).div_ceil(tasks);
    let group = (CACHED / plan.head_len().max(1)).max(wanted).min(job.heads());
    with_scratch(group * plan.head_len(), |packed| {
        for first in (0..job.heads()).step_by(group) {
            let heads = group.min(job.heads() - first);
            let all = Disjoint::new(packed);
            // Heads after one another: their numbers of a token lie in one page, and pages are not found at once.
            each(heads * plan.blocks, &|index| {
                let (head, block) = (index % heads, index / heads);
                let len = plan.keys_len + plan.values_len;
                // SAFETY: each block of each head is written once.
                let out = unsafe { all.part((head * plan.blocks + block) * len, len) };
                pack_block::<A, NV>(arith, job, plan, job.head(first + head), block, out);
            });
            let packed = &*packed;
            each(heads * tasks, &|index| {
                let (head, task) = (index / tasks, index % tasks);
                let packed = &packed[head * plan.head_len()..][..plan.head_len()];
                let start = task * plan.queries;
                let queries = [start, plan.queries.min(job.queries - start)];
                attend::<A, MR, NV>(arith, job, plan, job.head(first + head), queries, packed);
            });
        }
    });
}

/// Keys, `[panel of keys][unit][width of the panel]`, then values, `[panel of numbers][unit of keys][width of the panel]`.
fn pack_block<A: Arith, const NV: usize>(arith: A, job: &Job<'_>, plan: Plan, head: Head, block: usize, out: &mut [f32]) {
    let lanes = A::S::LANES;
    let width = NV * lanes;
    let first = block * plan.keys;
    let len = plan.keys.min(job.keys - first);
    let (keys, values) = out.split_at_mut(plan.keys_len);
    arith.vectorize(
        #[inline(always)]
        || {
            let rows = job.rows(job.inputs.keys, head);
            for start in (0..len).step_by(width) {
                let width = width.min((len - start).next_multiple_of(lanes));
                pack_across(arith, rows, first + start, width, &mut keys[start * plan.units..]);
            }
            pack_down(arith, job.rows(job.inputs.values, head), [first, len], [width, plan.keys / A::PER_UNIT], values);
        },
    );
}

/// All keys for some queries of a head.
fn attend<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    job: &Job<'_>,
    plan: Plan,
    head: Head,
    [first, count]: [usize; 2],
    packed: &[f32],
) {
    let lanes = A::S::LANES;
    let rows = count.next_multiple_of(MR);
    with_scratch(GROUP * ROW + rows * (plan.row_len + plan.padded + lanes + 1), |scratch| {
        let (scores, scratch) = scratch.split_at_mut(GROUP * ROW);
        let (units, scratch) = scratch.split_at_mut(rows * plan.row_len);
        let (sums, scratch) = scratch.split_at_mut(rows * plan.padded);
        let (totals, highest) = scratch.split_at_mut(rows * lanes);
        highest.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        if plan.blocks == 0 {
            sums.fill(0.0);
        }
        arith.vectorize(
            #[inline(always)]
            || {
                let queries = job.rows(job.inputs.queries, head);
                if first == 0 {
                    for row in 0..count {
                        queries.prefetch(arith.simd(), first + row);
                    }
                }
                // Rows of a tile that do not exist may hold anything: their results are not used.
                pack_rows(arith, queries, [first, count], plan.row_len, units);
            },
        );
        let ahead = job.inputs.heads > 1 && plan.queries * plan.padded <= AHEAD;
        for (block, packed) in (0..plan.blocks).zip(packed.chunks_exact(plan.keys_len + plan.values_len)) {
            if ahead && block + 1 == plan.blocks {
                let queries = job.rows(job.inputs.queries, head);
                arith.vectorize(
                    #[inline(always)]
                    || {
                        for row in 0..count {
                            queries.prefetch(arith.simd(), first + count + row);
                        }
                    },
                );
            }
            for group in (0..count).step_by(GROUP) {
                let count = GROUP.min(count - group);
                let rows = count.next_multiple_of(MR);
                let state = State {
                    scores: &mut *scores,
                    units: &units[group * plan.row_len..][..rows * plan.row_len],
                    sums: &mut sums[group * plan.padded..][..rows * plan.padded],
                    totals: &mut totals[group * lanes..],
                    highest: &mut highest[group..],
                };
                add_block::<A, MR, NV>(arith, job, plan, head, [first + group, count], block, packed, state);
            }
        }
        arith.vectorize(
            #[inline(always)]
            || finish(arith.simd(), job, plan, head, [first, count], [sums, totals, highest]),
        );
    });
}

/// What is kept of some queries: a row each.
struct State<'a> {
    /// `[row][ROW]`
    scores: &'a mut [f32],
    /// `[row][unit]`
    units: &'a [f32],
    /// `[row][number]`
    sums: &'a mut [f32],
    /// `[row][lane]`
    totals: &'a mut [f32],
    highest: &'a mut [f32],
}

/// A block of keys for a few queries.
#[expect(clippy::too_many_arguments, reason = "the loop of `attend` in a function of its own")]
fn add_block<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    job: &Job<'_>,
    plan: Plan,
    head: Head,
    [first, count]: [usize; 2],
    block: usize,
    packed: &[f32],
    state: State<'_>,
) {
    let (lanes, width) = (A::S::LANES, NV * A::S::LANES);
    let start = block * plan.keys;
    let len = plan.keys.min(job.keys - start);
    let Attention { causal, bias, .. } = *job.inputs;
    if causal && start >= first + count {
        return;
    }
    let (keys, values) = packed.split_at(plan.keys_len);
    let State { scores, units, sums, totals, highest } = state;
    let sums_state = if block > 0 { Sums::Added } else { Sums::New };
    let tiles = count.div_ceil(MR);
    let scale = job.inputs.scale * std::f32::consts::LOG2_E;
    arith.vectorize(
        #[inline(always)]
        || {
            for column in (0..len).step_by(width) {
                let vectors = NV.min((len - column).div_ceil(lanes));
                let keys = &keys[column * plan.units..][..vectors * lanes * plan.units];
                for tile in 0..tiles {
                    let a = &units[tile * MR * plan.row_len..][..MR * plan.row_len];
                    let c = &mut scores[tile * MR * ROW + column..];
                    tile_of::<A, MR, NV>(arith, vectors, plan.units, a, [plan.row_len, 1], keys, c, ROW, Sums::New);
                }
            }
            for row in 0..count {
                let seen = if causal { len.min((first + row + 1).saturating_sub(start)) } else { len };
                let bias = bias.map(
                    #[inline(always)]
                    |bias| &bias.row(head, first + row, job.keys)[start..start + seen],
                );
                let scores_of_row = Scores { scale, bias, seen, end: len.next_multiple_of(2 * lanes) };
                let totals = &mut totals[row * lanes..][..lanes];
                let row_of_scores = &mut scores[row * ROW..][..ROW];
                let shrink = softmax_row(arith, row_of_scores, &scores_of_row, &mut highest[row], totals);
                if block > 0 && shrink != 1.0 {
                    let (s, shrink) = (arith.simd(), arith.simd().splat(shrink));
                    for part in sums[row * plan.padded..][..plan.padded].chunks_exact_mut(lanes) {
                        s.store(s.mul(s.load(part), shrink), part);
                    }
                }
            }
            let steps = len.div_ceil(A::PER_UNIT);
            for column in (0..plan.padded).step_by(width) {
                let vectors = NV.min((plan.padded - column) / lanes);
                let values = &values[column * (plan.keys / A::PER_UNIT)..][..steps * vectors * lanes];
                for tile in 0..tiles {
                    let a = &scores[tile * MR * ROW..];
                    let c = &mut sums[tile * MR * plan.padded + column..];
                    tile_of::<A, MR, NV>(arith, vectors, steps, a, [ROW, 1], values, c, plan.padded, sums_state);
                }
            }
        },
    );
}

/// [`tile_at`] of fewer vectors, where there are fewer.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "those of `tile_at`")]
pub(super) fn tile_of<A: Arith, const MR: usize, const NV: usize>(
    arith: A,
    vectors: usize,
    steps: usize,
    a: &[f32],
    strides: [usize; 2],
    b: &[f32],
    c: &mut [f32],
    row_len: usize,
    sums: Sums,
) {
    match vectors {
        1 if NV > 1 => tile_at::<A, MR, 1>(arith, steps, a, strides, b, c, row_len, sums),
        2 if NV > 2 => tile_at::<A, MR, 2>(arith, steps, a, strides, b, c, row_len, sums),
        3 if NV > 3 => tile_at::<A, MR, 3>(arith, steps, a, strides, b, c, row_len, sums),
        _ => tile_at::<A, MR, NV>(arith, steps, a, strides, b, c, row_len, sums),
    }
}

/// Divide the sums by what the numerators add up to.
#[inline(always)]
fn finish<S: Simd>(
    s: S,
    job: &Job<'_>,
    plan: Plan,
    head: Head,
    [first, count]: [usize; 2],
    [sums, totals, highest]: [&[f32]; 3],
) {
    for row in 0..count {
        let total = s.sum(s.load(&totals[row * S::LANES..]));
        // Where no key is seen, the sums are zero.
        let factor = s.splat(if total == 0.0 { 0.0 } else { 1.0 / total });
        // SAFETY: no other task has these queries of this head.
        let out = unsafe { job.out.row(head, first + row) };
        for (sums, out) in sums[row * plan.padded..].chunks_exact(S::LANES).zip(out.chunks_mut(S::LANES)) {
            let value = s.mul(s.load(sums), factor);
            if out.len() == S::LANES { s.store(value, out) } else { s.store_part(value, out) }
        }
        if let Some(all) = job.log_sum_exp {
            let index = (head.batch * job.inputs.heads + head.head) * job.queries + first + row;
            // SAFETY: as above.
            let place = unsafe { all.part(index, 1) };
            place[0] = log_sum_exp(highest[row], total);
        }
    }
}
