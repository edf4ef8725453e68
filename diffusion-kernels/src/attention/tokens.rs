//! Where the numbers of tokens lie.

use crate::memory::Disjoint;
use crate::simd::Simd;

/// Distances, in numbers, of `[batch, heads, tokens, head_dim]`; the numbers of a head follow one another.
///
/// For what is only read, distances may be zero: the same numbers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From an element of the batch to the next.
    pub batch: usize,
    /// From a head to the next.
    pub head: usize,
    /// From a token to the next.
    pub token: usize,
}

impl Strides {
    /// Of `[batch, len, heads, head_dim]`, as projections write it.
    pub fn of_projection(len: usize, heads: usize, head_dim: usize) -> Self {
        Self { batch: len * heads * head_dim, head: head_dim, token: heads * head_dim }
    }

    /// Of `[batch, heads, len, head_dim]`.
    pub fn of_heads(heads: usize, len: usize, head_dim: usize) -> Self {
        Self { batch: heads * len * head_dim, head: len * head_dim, token: head_dim }
    }

    /// Where the numbers of a token begin.
    #[inline(always)]
    fn offset(self, batch: usize, head: usize, token: usize) -> usize {
        batch * self.batch + head * self.head + token * self.token
    }

    /// Panic unless all of `counts` (batch, heads, tokens) lie within `available` numbers.
    pub(super) fn check(self, name: &str, counts: [usize; 3], width: usize, available: usize) {
        if counts.contains(&0) {
            return;
        }
        let mut needed = Some(width);
        for (stride, count) in [self.batch, self.head, self.token].into_iter().zip(counts) {
            needed = stride.checked_mul(count - 1).and_then(|last| last.checked_add(needed?));
        }
        assert!(needed.is_some_and(|needed| needed <= available), "{counts:?} rows of {name} at {self:?} in {available} numbers");
    }

    /// Panic if two of the rows have a number in common.
    pub(super) fn check_disjoint(self, name: &str, counts: [usize; 3], width: usize) {
        let mut steps = [(self.batch, counts[0]), (self.head, counts[1]), (self.token, counts[2])];
        steps.sort_unstable();
        let mut extent = width;
        for (stride, count) in steps.into_iter().filter(|(_, count)| *count > 1) {
            assert!(stride >= extent, "rows of {name} at {self:?} overlap");
            extent += stride * (count - 1);
        }
    }
}

/// Tokens to read: `[batch, heads, len, head_dim]` at any strides.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// How many tokens.
    pub len: usize,
    /// Where they lie.
    pub strides: Strides,
}

/// Tokens to write: `[batch, heads, len, head_dim]` at strides of which no two rows overlap.
#[derive(Debug)]
pub struct TokensMut<'a> {
    /// The numbers.
    pub values: &'a mut [f32],
    /// How many tokens.
    pub len: usize,
    /// Where they lie.
    pub strides: Strides,
}

/// What is added to scores: `[batch, heads, queries, keys]` at any strides. `-inf` hides a key from a query.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// Where they lie; a token is a query, and the keys of a query follow one another.
    pub strides: Strides,
}

impl<'a> Bias<'a> {
    /// `[heads, queries, keys]`, the same for the whole batch.
    pub fn per_head(values: &'a [f32], queries: usize, keys: usize) -> Self {
        Self { values, strides: Strides { batch: 0, head: queries * keys, token: keys } }
    }

    /// `[queries, keys]`, the same for all heads of the whole batch.
    pub fn shared(values: &'a [f32], keys: usize) -> Self {
        Self { values, strides: Strides { batch: 0, head: 0, token: keys } }
    }

    #[inline(always)]
    pub(super) fn row(&self, head: Head, query: usize, keys: usize) -> &'a [f32] {
        &self.values[self.strides.offset(head.batch, head.head, query)..][..keys]
    }
}

/// A head of an element of the batch.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) batch: usize,
    pub(super) head: usize,
}

/// The rows of a head, segment after segment.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) segments: &'a [Tokens<'a>],
    pub(super) head: Head,
    pub(super) head_dim: usize,
}

impl<'a> Rows<'a> {
    /// The numbers of a token; none beyond the last.
    #[inline(always)]
    pub(super) fn get(&self, mut token: usize) -> &'a [f32] {
        for segment in self.segments {
            if token < segment.len {
                let first = segment.strides.offset(self.head.batch, self.head.head, token);
                return &segment.values[first..first + self.head_dim];
            }
            token -= segment.len;
        }
        &[]
    }

    /// Ask for the numbers of a token, if there is one.
    ///
    /// Rows of a head lie far apart, each in pages of its own: the processor foresees nothing, and waits for each.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(&self, s: S, token: usize) {
        const LINE: usize = 64 / size_of::<f32>();
        let row = self.get(token);
        for at in (0..row.len()).step_by(LINE) {
            s.prefetch(row.as_ptr().wrapping_add(at).cast());
        }
    }
}

/// Segments that several threads write, each its own rows.
pub(super) struct RowsMut<'a> {
    segments: Vec<(Disjoint<'a>, usize, Strides)>,
    head_dim: usize,
}

impl<'a> RowsMut<'a> {
    /// # Panics
    /// If the segments are too short, or rows overlap.
    pub(super) fn new(name: &str, segments: &'a mut [TokensMut<'_>], [batch, heads, head_dim]: [usize; 3]) -> Self {
        for segment in &*segments {
            let counts = [batch, heads, segment.len];
            segment.strides.check(name, counts, head_dim, segment.values.len());
            segment.strides.check_disjoint(name, counts, head_dim);
        }
        let segments = segments.iter_mut().map(|segment| (Disjoint::new(segment.values), segment.len, segment.strides));
        Self { segments: segments.collect(), head_dim }
    }

    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.1).sum()
    }

    /// The place of a token.
    ///
    /// # Safety
    /// No row may be in use twice at a time.
    #[inline(always)]
    pub(super) unsafe fn row(&self, head: Head, mut token: usize) -> &'a mut [f32] {
        for (values, len, strides) in &self.segments {
            if token < *len {
                // SAFETY: rows do not overlap, as checked in `new`, and no other has this one, as the caller says.
                return unsafe { values.part(strides.offset(head.batch, head.head, token), self.head_dim) };
            }
            token -= len;
        }
        &mut []
    }
}
