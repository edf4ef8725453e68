//! Norms by the root of the mean square, of rows and of the heads of attention.

use super::lanes::{get, put, sum};
use super::{Source, each_rows};
use crate::Cpu;
use crate::cpu::with_vectors;
use crate::simd::Simd;

/// `x / sqrt(mean(x²) + epsilon) · weight` of each row of the source, which is as wide as the weight.
///
/// # Panics
/// If the lengths do not fit together.
pub fn rms_norm(cpu: Cpu, source: Source<'_>, weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = weight.len();
    with_vectors!(cpu, s => each_rows(source, out, width, |_, source, out| s.vectorize(
        #[inline(always)]
        || {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                normalise(s, source.part(index * width, width), weight, epsilon, out);
            }
        },
    )));
}

#[inline(always)]
fn normalise<S: Simd>(s: S, source: Source<'_>, weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let factor = rms_factor(s, source.or(out), epsilon);
    for first in (0..out.len()).step_by(S::LANES) {
        let gain = s.mul(factor, get(s, weight, first));
        put(s, s.mul(get(s, source.or(out), first), gain), out, first);
    }
}

/// `1 / sqrt(mean(x²) + epsilon)` in every lane.
#[inline(always)]
pub(super) fn rms_factor<S: Simd>(s: S, x: &[f32], epsilon: f32) -> S::V {
    let squares = sum(
        s,
        x,
        0.0,
        #[inline(always)]
        |sum, x| s.mul_add(x, x, sum),
    );
    s.splat((squares / x.len() as f32 + epsilon).sqrt().recip())
}

/// Rotations of the pairs of neighbouring numbers of each head, by the position of the token.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// `[len, head_dim / 2]`
    pub cos: &'a [f32],
    /// `[len, head_dim / 2]`
    pub sin: &'a [f32],
}

/// How the heads of queries and keys are normalised.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm<'a> {
    /// `[head_dim]`
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Normalise and turn every head, in place, in f32.
///
/// With a rope, `x` holds whole sequences of its length, one after the other.
///
/// # Shapes
/// - x: `[tokens, heads · head_dim]`
///
/// # Panics
/// If the lengths do not fit together, or heads have an odd length where they are turned.
pub fn normalise_heads(cpu: Cpu, norm: HeadNorm<'_>, rope: Option<Rope<'_>>, heads: usize, x: &mut [f32]) {
    let dim = norm.weight.len();
    if let Some(rope) = rope {
        rope.check(dim, x.len() / (heads * dim).max(1));
    }
    with_vectors!(cpu, s => each_rows(Source::InPlace, x, heads * dim, |first_token, _, x| s.vectorize(
        #[inline(always)]
        || {
            for (index, x) in x.chunks_exact_mut(heads * dim).enumerate() {
                let turn = rope.map(#[inline(always)] |rope| rope.of_token(first_token + index, dim));
                for head in x.chunks_exact_mut(dim) {
                    normalise_head(s, norm, turn, head);
                }
            }
        },
    )));
}

impl Rope<'_> {
    /// Panics unless these are rotations of heads of `dim` numbers, for whole sequences of tokens.
    pub(super) fn check(self, dim: usize, tokens: usize) {
        assert!(dim.is_multiple_of(2), "pairs of a head of {dim} numbers");
        assert_eq!(self.cos.len(), self.sin.len(), "cosines and sines");
        let len = self.cos.len() / (dim / 2).max(1);
        assert!(
            self.cos.len() == len * (dim / 2) && (tokens == 0 || len > 0 && tokens.is_multiple_of(len)),
            "positions of {tokens} tokens"
        );
    }

    /// Cosines and sines of one token.
    #[inline(always)]
    pub(crate) fn of_token(self, token: usize, dim: usize) -> Self {
        let pairs = dim / 2;
        let first = token * pairs % self.cos.len();
        Self { cos: &self.cos[first..first + pairs], sin: &self.sin[first..first + pairs] }
    }
}

/// Normalise a head, and turn it by the rotations of its token.
#[inline(always)]
pub(crate) fn normalise_head<S: Simd>(s: S, norm: HeadNorm<'_>, turn: Option<Rope<'_>>, head: &mut [f32]) {
    let factor = rms_factor(s, head, norm.epsilon);
    for pair in (0..head.len()).step_by(2 * S::LANES) {
        let (cos, sin) = match turn {
            Some(Rope { cos, sin }) => {
                let (cos, sin) = (get(s, cos, pair / 2), get(s, sin, pair / 2));
                (s.interleave(cos, cos), s.interleave(s.sub(s.zero(), sin), sin))
            }
            None => ([s.splat(1.0); 2], [s.zero(); 2]),
        };
        for half in 0..2 {
            let first = pair + half * S::LANES;
            let x = s.mul(s.mul(get(s, head, first), factor), get(s, norm.weight, first));
            let turned = if turn.is_some() { s.mul_add(x, cos[half], s.mul(s.swap_pairs(x), sin[half])) } else { x };
            put(s, turned, head, first);
        }
    }
}
