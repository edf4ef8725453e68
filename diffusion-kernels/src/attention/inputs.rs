//! What attention is computed from.

use super::tokens::{Bias, Tokens};

/// What attention is computed from.
///
/// Queries, keys and values are lists of segments, one after the other, so that text and image tokens are read where their
/// projections wrote them.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Elements of the batch.
    pub batch: usize,
    /// Heads of each.
    pub heads: usize,
    /// Numbers of a token in a head.
    pub head_dim: usize,
    /// Factor of the products of queries and keys, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Tokens that ask.
    pub queries: &'a [Tokens<'a>],
    /// Tokens that are asked.
    pub keys: &'a [Tokens<'a>],
    /// What they answer: as many as there are keys.
    pub values: &'a [Tokens<'a>],
    /// Added to the scaled scores.
    pub bias: Option<Bias<'a>>,
    /// Whether a query sees the keys up to its own position alone.
    pub causal: bool,
}

impl Attention<'_> {
    /// Queries and keys of a head.
    ///
    /// # Panics
    /// If slices are too short for their strides.
    pub(super) fn check(&self) -> [usize; 2] {
        assert!(self.head_dim > 0, "heads without numbers");
        let (queries, keys) = (self.check_tokens("queries", self.queries), self.check_tokens("keys", self.keys));
        assert_eq!(self.check_tokens("values", self.values), keys, "values, one for each key");
        if let Some(bias) = self.bias {
            bias.strides.check("bias", [self.batch, self.heads, queries], keys, bias.values.len());
        }
        [queries, keys]
    }

    /// How many tokens there are.
    ///
    /// # Panics
    /// If slices are too short for their strides.
    pub(super) fn check_tokens(&self, name: &str, segments: &[Tokens<'_>]) -> usize {
        for segment in segments {
            segment.strides.check(name, [self.batch, self.heads, segment.len], self.head_dim, segment.values.len());
        }
        segments.iter().map(|segment| segment.len).sum()
    }
}
