//! A product to be computed, where its sums are cut, and who works on it.

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::weight::Weight;
use crate::memory::Disjoint;
use crate::tile::Arith;

/// Units of a part of a sum, at most: a panel of the weight of this length stays in the second-level cache, and the additions
/// in a row are few enough for f32.
const PART: usize = 384;
/// Products of this many multiplications and fewer are not worth waking a thread.
const SMALL: usize = 1 << 15;

/// A product to be computed, its lengths checked.
pub(super) struct Job<'a> {
    pub(super) input: &'a [f32],
    pub(super) weight: &'a Weight<'a>,
    pub(super) epilogue: &'a Epilogue<'a>,
    pub(super) out: Disjoint<'a>,
    pub(super) rows: usize,
}

/// Who works on a product.
#[derive(Clone, Copy)]
pub(super) enum Threads {
    /// The caller alone.
    This,
    /// The current pool.
    All,
}

impl Job<'_> {
    pub(super) fn threads(&self) -> Threads {
        let [outputs, inputs] = self.weight.shape();
        if self.rows * outputs * inputs <= SMALL { Threads::This } else { Threads::All }
    }
}

/// Call `body` for every index.
pub(super) fn each(count: usize, threads: Threads, body: impl Fn(usize) + Sync + Send) {
    match threads {
        Threads::This => (0..count).for_each(body),
        Threads::All => (0..count).into_par_iter().with_max_len(1).for_each(body),
    }
}

/// Units of a part of the sums: of about equal parts, whole vectors, and whole blocks of the weight.
pub(super) fn part_len<A: Arith>(weight: &Weight<'_>) -> usize {
    let [_, inputs] = weight.shape();
    let units = inputs.div_ceil(A::PER_UNIT);
    let multiple = least_common_multiple(weight.block_len(), 16 * A::PER_UNIT) / A::PER_UNIT;
    units.div_ceil(units.div_ceil(PART).max(1)).max(1).next_multiple_of(multiple)
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
