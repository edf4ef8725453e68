//! Softmax.

use std::f32::consts::LOG2_E;

use super::lanes::{get, highest, put, sum};
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
    // The exponential is one of base 2.
    let (highest, scale) = (s.splat(highest(s, source.or(out))), s.splat(scale * LOG2_E));
    for first in (0..out.len()).step_by(S::LANES) {
        let x = get(s, source.or(out), first);
        put(s, exp2(s, s.mul(s.sub(x, highest), scale)), out, first);
    }
    let total = sum(
        s,
        out,
        0.0,
        #[inline(always)]
        |sum, power| s.add(sum, power),
    );
    let share = s.splat(total.recip());
    for first in (0..out.len()).step_by(S::LANES) {
        put(s, s.mul(get(s, out, first), share), out, first);
    }
}
