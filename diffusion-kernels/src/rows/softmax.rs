//! Softmax.

use std::f32::consts::LOG2_E;

use super::lanes::{SUMS, get, get_or, put};
use super::{Source, each_rows};
use crate::Cpu;
use crate::cpu::with_vectors;
use crate::simd::{Simd, exp2};

/// `exp(scale x - highest) / sum` of each row of `width` numbers of the source.
///
/// Numbers that are minus infinity get no share; a row of nothing else has no shares to give, and becomes NaN. `scale` is positive.
///
/// # Panics
/// If the lengths do not fit together.
pub fn softmax(cpu: Cpu, source: Source<'_>, width: usize, scale: f32, out: &mut [f32]) {
    with_vectors!(cpu, s => each_rows(source, out, width, |_, source, out| s.vectorize(
        #[inline(always)]
        || {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                row(s, source.part(index * width, width), scale, out);
            }
        },
    )));
}

#[inline(always)]
fn row<S: Simd>(s: S, source: Source<'_>, scale: f32, out: &mut [f32]) {
    let lowest = s.splat(f32::NEG_INFINITY);
    let mut highest = [lowest; SUMS];
    for x in source.or(out).chunks(SUMS * S::LANES) {
        for (i, highest) in highest.iter_mut().enumerate() {
            *highest = s.max(*highest, get_or(s, x, i * S::LANES, f32::NEG_INFINITY));
        }
    }
    let highest = s.highest(s.max(s.max(highest[0], highest[1]), s.max(highest[2], highest[3])));
    // The exponential is one of base 2.
    let (highest, scale) = (s.splat(highest), s.splat(scale * LOG2_E));
    let mut sums = [s.zero(); SUMS];
    for first in (0..out.len()).step_by(S::LANES) {
        let x = get_or(s, source.or(out), first, f32::NEG_INFINITY);
        let power = exp2(s, s.mul(s.sub(x, highest), scale));
        let sum = &mut sums[first / S::LANES % SUMS];
        *sum = s.add(*sum, power);
        put(s, power, out, first);
    }
    let total = s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])));
    let share = s.splat(total.recip());
    for first in (0..out.len()).step_by(S::LANES) {
        put(s, s.mul(get(s, out, first), share), out, first);
    }
}
