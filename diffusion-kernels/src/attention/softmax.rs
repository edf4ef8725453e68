//! The exponential between the two products.

use std::f32::consts::{LN_2, LOG2_E};

use crate::simd::{Simd, exp2_of_negative, exp2_of_negative_coarse};
use crate::tile::Arith;

/// What a row of scores is turned into numerators by.
#[derive(Clone, Copy)]
pub(super) struct Scores<'a> {
    /// Factor of scores, times log2 e: exponentials are of base 2.
    pub(super) scale: f32,
    /// Added to the scaled scores of the keys that are seen.
    pub(super) bias: Option<&'a [f32]>,
    /// Keys that the row sees.
    pub(super) seen: usize,
    /// Keys that numerators are wanted of, a multiple of two vectors: those after the seen ones are zero.
    pub(super) end: usize,
}

/// The highest score of a row so far, as a power of 2. What a power is taken above, if all are `-inf`, is zero.
#[inline(always)]
pub(super) fn base(highest: f32) -> f32 {
    if highest == f32::NEG_INFINITY { 0.0 } else { highest }
}

/// The logarithm of the sum of exponentials, from the highest power of 2 and the sum above it.
pub(super) fn log_sum_exp(highest: f32, total: f32) -> f32 {
    highest.mul_add(LN_2, total.ln())
}

/// Turn a row of scores into numerators of softmax, in units, in place; `total` is what they add up to, in lanes.
/// Returns what everything summed before is to be multiplied by.
#[inline(always)]
pub(super) fn softmax_row<A: Arith>(arith: A, row: &mut [f32], scores: &Scores<'_>, highest: &mut f32, total: &mut [f32]) -> f32 {
    let (s, lanes) = (arith.simd(), A::S::LANES);
    let row = &mut row[..scores.end];
    let mut factor = scores.scale;
    // With a factor below zero the lowest number is the highest score; zero times a hidden key is no number.
    if scores.bias.is_some() || factor <= 0.0 {
        add_bias(s, &mut row[..scores.seen.next_multiple_of(lanes)], scores);
        factor = 1.0;
    }
    row[scores.seen..].fill(f32::NEG_INFINITY);
    let new = highest.max(maximum(s, row) * factor);
    let shrink = if new == *highest { 1.0 } else { (*highest - new).exp2() };
    *highest = new;
    let (scale, offset) = (s.splat(factor), s.splat(-base(new)));
    let mut sums = [s.zero(); 2];
    for at in (0..scores.end).step_by(2 * lanes) {
        let mut powers = [s.zero(); 2];
        for (i, power) in powers.iter_mut().enumerate() {
            let x = s.mul_add(s.load(&row[at + i * lanes..]), scale, offset);
            *power = if A::PER_UNIT == 2 { exp2_of_negative_coarse(s, x) } else { exp2_of_negative(s, x) };
            sums[i] = s.add(sums[i], *power);
        }
        let [first, second] = powers;
        if A::PER_UNIT == 2 {
            s.store(
                arith.units(
                    first,
                    #[inline(always)]
                    || second,
                ),
                &mut row[at / 2..],
            );
        } else {
            for (i, power) in powers.into_iter().enumerate() {
                s.store(
                    arith.units(
                        power,
                        #[inline(always)]
                        || power,
                    ),
                    &mut row[at + i * lanes..],
                );
            }
        }
    }
    let before = s.mul(s.load(total), s.splat(shrink));
    s.store(s.add(before, s.add(sums[0], sums[1])), total);
    shrink
}

/// Scores in powers of 2, bias included.
#[inline(always)]
fn add_bias<S: Simd>(s: S, row: &mut [f32], scores: &Scores<'_>) {
    let (scale, log2_e) = (s.splat(scores.scale), s.splat(LOG2_E));
    for (i, part) in row.chunks_exact_mut(S::LANES).enumerate() {
        let mut score = s.mul(s.load(part), scale);
        if let Some(bias) = scores.bias {
            let bias = &bias[i * S::LANES..];
            let bias = if bias.len() >= S::LANES { s.load(bias) } else { s.load_part(bias) };
            score = s.mul_add(bias, log2_e, score);
        }
        s.store(score, part);
    }
}

/// What a row of scores is turned into probabilities and gradients by.
pub(super) struct GradientScores<'a> {
    /// Factor of scores.
    pub(super) scale: f32,
    /// Added to the scaled scores of the keys that are seen.
    pub(super) bias: Option<&'a [f32]>,
    /// Keys that the row sees.
    pub(super) seen: usize,
    /// The log-sum-exp, in powers of 2.
    pub(super) log_sum: f32,
    /// The sum of the result times its gradient.
    pub(super) product: f32,
}

/// Turn a row of scores into probabilities and the gradients of those into gradients of products of queries and keys, in place.
#[inline(always)]
pub(super) fn gradient_row<S: Simd>(s: S, scores: &mut [f32], gradients: &mut [f32], known: &GradientScores<'_>) {
    let (scale, log2_e) = (s.splat(known.scale), s.splat(LOG2_E));
    let (offset, product) = (s.splat(-base(known.log_sum)), s.splat(-known.product));
    let (seen_scores, hidden_scores) = scores.split_at_mut(known.seen);
    let (seen_gradients, hidden_gradients) = gradients.split_at_mut(known.seen);
    let pairs = seen_scores.chunks_mut(S::LANES).zip(seen_gradients.chunks_mut(S::LANES));
    for (i, (scores, gradients)) in pairs.enumerate() {
        let mut power = s.mul(s.mul(s.load_part(scores), scale), log2_e);
        if let Some(bias) = known.bias {
            power = s.mul_add(s.load_part(&bias[i * S::LANES..]), log2_e, power);
        }
        let probability = exp2_of_negative(s, s.add(power, offset));
        let gradient = s.mul(s.mul(probability, scale), s.add(s.load_part(gradients), product));
        s.store_part(probability, scores);
        s.store_part(gradient, gradients);
    }
    hidden_scores.fill(0.0);
    hidden_gradients.fill(0.0);
}

#[inline(always)]
fn maximum<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut highest = [s.splat(f32::NEG_INFINITY); 2];
    for pair in row.chunks_exact(2 * S::LANES) {
        for (i, highest) in highest.iter_mut().enumerate() {
            *highest = s.max(*highest, s.load(&pair[i * S::LANES..]));
        }
    }
    s.highest(s.max(highest[0], highest[1]))
}
