//! The loops of attention's gradients.
//!
//! Probabilities are computed again from the log-sum-exps, block by block of keys and queries, so no more of them is kept than a
//! block has (flash attention, arXiv 2205.14135, algorithm 4). With `P` the probabilities, `G` the gradient of the result and `D`
//! the sums of `G` times the result, row by row:
//!
//! ```text
//! dV = Pᵀ G    dS = scale · P ∘ (G Vᵀ - D)    dQ = dS K    dK = dSᵀ Q
//! ```
//!
//! A task has a head, so that sums are made in the same order whatever the number of threads.

use std::f32::consts::LOG2_E;

use rayon::prelude::*;

use super::forward::tile_of;
use super::inputs::Attention;
use super::pack::{pack_across, pack_down, pack_rows};
use super::softmax::{GradientScores, gradient_row};
use super::tokens::{Head, Rows, RowsMut, Tokens};
use crate::memory::with_scratch;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{F32, Sums};

/// Queries of a block: a multiple of the rows of every tile.
const QUERIES: usize = 96;
/// Keys of a block.
const KEYS: usize = 256;
/// Numbers of a row of scores. More than keys of a block, so that there are columns for the last tile of rows that are keys.
const ROW: usize = KEYS + MAX_LANES;

/// Gradients to be computed, all lengths checked.
pub(super) struct Job<'a> {
    pub(super) inputs: &'a Attention<'a>,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) out: &'a [Tokens<'a>],
    pub(super) log_sum_exp: &'a [f32],
    pub(super) grad_out: &'a [Tokens<'a>],
    /// Of queries, keys and values.
    pub(super) gradients: [RowsMut<'a>; 3],
}

/// The scratch of a head.
struct Scratch<'a> {
    /// `[query][number]`
    queries: &'a mut [f32],
    /// The same of the result's gradient.
    grad_out: &'a mut [f32],
    /// `[block][panel of numbers][query][width of the panel]`
    queries_down: &'a mut [f32],
    /// The same of the result's gradient.
    grad_out_down: &'a mut [f32],
    /// `[query][number]`
    query_gradients: &'a mut [f32],
    /// Of each query, the log-sum-exp in powers of 2.
    log_sums: &'a mut [f32],
    /// Of each query, the sum of the result times its gradient.
    products: &'a mut [f32],
    block: Block<'a>,
}

/// The scratch of a block of keys.
struct Block<'a> {
    /// `[panel of keys][number][width of the panel]`
    keys: &'a mut [f32],
    values: &'a mut [f32],
    /// `[panel of numbers][key][width of the panel]`
    keys_down: &'a mut [f32],
    /// `[key][number]`
    key_gradients: &'a mut [f32],
    value_gradients: &'a mut [f32],
    /// `[query][ROW]`: scores, then probabilities.
    scores: &'a mut [f32],
    /// Gradients of probabilities, then of scores.
    score_gradients: &'a mut [f32],
}

/// Cuts scratch into parts.
struct Parts<'a>(&'a mut [f32]);

impl<'a> Parts<'a> {
    fn next(&mut self, len: usize) -> &'a mut [f32] {
        let (part, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        part
    }
}

impl<'a> Scratch<'a> {
    /// Numbers of scratch for so many queries, in whole blocks, of heads that have so many numbers, in whole vectors.
    fn len(queries: usize, padded: usize) -> usize {
        queries * (5 * padded + 2) + 5 * ROW * padded + 2 * QUERIES * ROW
    }

    fn new(all: &'a mut [f32], queries: usize, padded: usize) -> Self {
        let mut parts = Parts(all);
        let (of_queries, of_block) = (queries * padded, ROW * padded);
        Self {
            queries: parts.next(of_queries),
            grad_out: parts.next(of_queries),
            queries_down: parts.next(of_queries),
            grad_out_down: parts.next(of_queries),
            query_gradients: parts.next(of_queries),
            log_sums: parts.next(queries),
            products: parts.next(queries),
            block: Block {
                keys: parts.next(of_block),
                values: parts.next(of_block),
                keys_down: parts.next(of_block),
                key_gradients: parts.next(of_block),
                value_gradients: parts.next(of_block),
                scores: parts.next(QUERIES * ROW),
                score_gradients: parts.next(QUERIES * ROW),
            },
        }
    }
}

/// Gradients by tiles of `MR` rows and `NV` vectors.
pub(super) fn backward<S: Simd, const MR: usize, const NV: usize>(s: S, job: &Job<'_>) {
    const { assert!(QUERIES.is_multiple_of(MR) && KEYS.next_multiple_of(MR) <= ROW) };
    let Attention { batch, heads, head_dim, .. } = *job.inputs;
    let (queries, padded) = (job.queries.next_multiple_of(QUERIES), head_dim.next_multiple_of(S::LANES));
    (0..batch * heads).into_par_iter().with_max_len(1).for_each(|index| {
        let head = Head { batch: index / heads, head: index % heads };
        with_scratch(Scratch::len(queries, padded), |scratch| {
            let mut scratch = Scratch::new(scratch, queries, padded);
            let log_sums = &job.log_sum_exp[index * job.queries..][..job.queries];
            pack_queries::<S, NV>(s, job, head, log_sums, &mut scratch);
            for start in (0..job.keys).step_by(KEYS) {
                let keys = [start, KEYS.min(job.keys - start)];
                add_keys::<S, MR, NV>(s, job, head, keys, &mut scratch);
                let [_, of_keys, of_values] = &job.gradients;
                write_rows(of_keys, head, keys, scratch.block.key_gradients, padded);
                write_rows(of_values, head, keys, scratch.block.value_gradients, padded);
            }
            write_rows(&job.gradients[0], head, [0, job.queries], scratch.query_gradients, padded);
        });
    });
}

/// Write the gradients of tokens.
fn write_rows(out: &RowsMut<'_>, head: Head, [first, count]: [usize; 2], rows: &[f32], padded: usize) {
    for (token, row) in (first..first + count).zip(rows.chunks_exact(padded)) {
        // SAFETY: no other task has this head, and each token is written at a time.
        let out = unsafe { out.row(head, token) };
        out.copy_from_slice(&row[..out.len()]);
    }
}

fn rows<'a>(job: &Job<'a>, segments: &'a [Tokens<'a>], head: Head) -> Rows<'a> {
    Rows { segments, head, head_dim: job.inputs.head_dim }
}

/// All that is needed of the queries of a head.
fn pack_queries<S: Simd, const NV: usize>(s: S, job: &Job<'_>, head: Head, log_sums: &[f32], scratch: &mut Scratch<'_>) {
    let padded = job.inputs.head_dim.next_multiple_of(S::LANES);
    let [queries, grad_out, out] = [job.inputs.queries, job.grad_out, job.out].map(|segments| rows(job, segments, head));
    scratch.query_gradients.fill(0.0);
    for (place, log_sum) in scratch.log_sums.iter_mut().zip(log_sums) {
        *place = log_sum * LOG2_E;
    }
    s.vectorize(
        #[inline(always)]
        || {
            let arith = F32(s);
            pack_rows(arith, queries, [0, job.queries], padded, scratch.queries);
            pack_rows(arith, grad_out, [0, job.queries], padded, scratch.grad_out);
            let blocks = scratch.queries_down.chunks_exact_mut(QUERIES * padded);
            let blocks = blocks.zip(scratch.grad_out_down.chunks_exact_mut(QUERIES * padded));
            for (first, (queries_down, grad_out_down)) in (0..job.queries).step_by(QUERIES).zip(blocks) {
                let tokens = [first, QUERIES.min(job.queries - first)];
                pack_down(arith, queries, tokens, [NV * S::LANES, QUERIES], queries_down);
                pack_down(arith, grad_out, tokens, [NV * S::LANES, QUERIES], grad_out_down);
            }
            for (token, place) in (0..job.queries).zip(&mut *scratch.products) {
                let mut sum = s.zero();
                for (out, gradient) in out.get(token).chunks(S::LANES).zip(grad_out.get(token).chunks(S::LANES)) {
                    sum = s.mul_add(s.load_part(out), s.load_part(gradient), sum);
                }
                *place = s.sum(sum);
            }
        },
    );
}

/// The gradients of a block of keys and values, and what it adds to those of all queries.
fn add_keys<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    job: &Job<'_>,
    head: Head,
    [start, len]: [usize; 2],
    scratch: &mut Scratch<'_>,
) {
    let (lanes, width) = (S::LANES, NV * S::LANES);
    let padded = job.inputs.head_dim.next_multiple_of(lanes);
    let block = &mut scratch.block;
    block.key_gradients.fill(0.0);
    block.value_gradients.fill(0.0);
    s.vectorize(
        #[inline(always)]
        || {
            let [keys, values] = [job.inputs.keys, job.inputs.values].map(
                #[inline(always)]
                |segments| rows(job, segments, head),
            );
            for column in (0..len).step_by(width) {
                let width = width.min((len - column).next_multiple_of(lanes));
                pack_across(F32(s), keys, start + column, width, &mut block.keys[column * job.inputs.head_dim..]);
                pack_across(F32(s), values, start + column, width, &mut block.values[column * job.inputs.head_dim..]);
            }
            pack_down(F32(s), keys, [start, len], [width, KEYS], block.keys_down);
        },
    );
    for first in (0..job.queries).step_by(QUERIES) {
        let count = QUERIES.min(job.queries - first);
        if !(job.inputs.causal && start >= first + count) {
            add_block::<S, MR, NV>(s, job, head, [first, count], [start, len], padded, scratch);
        }
    }
}

/// What a block of queries and a block of keys add to the gradients of both.
fn add_block<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    job: &Job<'_>,
    head: Head,
    [first, count]: [usize; 2],
    [start, len]: [usize; 2],
    padded: usize,
    scratch: &mut Scratch<'_>,
) {
    let Attention { head_dim, scale, causal, bias, .. } = *job.inputs;
    let block = &mut scratch.block;
    let of_queries = first * padded..(first + count.next_multiple_of(MR)) * padded;
    let of_block = first * padded..(first + QUERIES) * padded;
    let shape = Product {
        rows: count,
        steps: head_dim,
        columns: len,
        strides: [padded, 1],
        capacity: head_dim,
        row_len: ROW,
        sums: Sums::New,
    };
    multiply::<S, MR, NV>(s, &shape, &scratch.queries[of_queries.clone()], block.keys, block.scores);
    multiply::<S, MR, NV>(s, &shape, &scratch.grad_out[of_queries.clone()], block.values, block.score_gradients);
    s.vectorize(
        #[inline(always)]
        || {
            let pairs = block.scores.chunks_exact_mut(ROW).zip(block.score_gradients.chunks_exact_mut(ROW));
            for (row, (scores, gradients)) in (first..first + count).zip(pairs) {
                let seen = if causal { len.min((row + 1).saturating_sub(start)) } else { len };
                let bias = bias.map(
                    #[inline(always)]
                    |bias| &bias.row(head, row, job.keys)[start..start + seen],
                );
                let known = GradientScores { scale, bias, seen, log_sum: scratch.log_sums[row], product: scratch.products[row] };
                gradient_row(s, &mut scores[..len], &mut gradients[..len], &known);
            }
        },
    );
    let (scores, gradients) = (&*block.scores, &*block.score_gradients);
    let shape =
        Product { steps: len, columns: padded, strides: [ROW, 1], capacity: KEYS, row_len: padded, sums: Sums::Added, ..shape };
    multiply::<S, MR, NV>(s, &shape, gradients, block.keys_down, &mut scratch.query_gradients[of_queries]);
    let shape = Product { rows: len, steps: count, strides: [1, ROW], capacity: QUERIES, ..shape };
    multiply::<S, MR, NV>(s, &shape, gradients, &scratch.queries_down[of_block.clone()], block.key_gradients);
    multiply::<S, MR, NV>(s, &shape, scores, &scratch.grad_out_down[of_block], block.value_gradients);
}

/// The shape of a product.
#[derive(Clone, Copy)]
struct Product {
    rows: usize,
    steps: usize,
    columns: usize,
    /// Of the first operand: from a row to the next, and from a step to the next.
    strides: [usize; 2],
    /// Steps that the panels of the second operand have room for.
    capacity: usize,
    /// Of the result.
    row_len: usize,
    sums: Sums,
}

/// A product of the first operand, number by number, and the second, in panels.
fn multiply<S: Simd, const MR: usize, const NV: usize>(s: S, shape: &Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Product { rows, steps, columns, strides, capacity, row_len, sums } = *shape;
    s.vectorize(
        #[inline(always)]
        || {
            for column in (0..columns).step_by(NV * S::LANES) {
                let vectors = NV.min((columns - column).div_ceil(S::LANES));
                let b = &b[column * capacity..][..steps * vectors * S::LANES];
                for row in (0..rows).step_by(MR) {
                    let (a, c) = (&a[row * strides[0]..], &mut c[row * row_len + column..]);
                    tile_of::<_, MR, NV>(F32(s), vectors, steps, a, strides, b, c, row_len, sums);
                }
            }
        },
    );
}
