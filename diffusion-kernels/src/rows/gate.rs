//! Gated residuals.

use super::lanes::{get, put};
use super::{Source, each_rows};
use crate::cpu::with_vectors;
use crate::simd::Simd;
use crate::{Cpu, PerImage};

/// `out += gate · values` for each row of `width` numbers.
///
/// # Panics
/// If the lengths do not fit together.
pub fn add_gated(cpu: Cpu, values: &[f32], gate: PerImage<'_>, width: usize, out: &mut [f32]) {
    gate.check(out.len() / width.max(1), width, "the gate");
    with_vectors!(cpu, s => each_rows(Source::From(values), out, width, |first_row, values, out| s.vectorize(
        #[inline(always)]
        || {
            let values = values.or(&[]);
            for (index, (out, values)) in out.chunks_exact_mut(width).zip(values.chunks_exact(width)).enumerate() {
                row(s, values, gate.of_row(first_row + index, width), out);
            }
        },
    )));
}

#[inline(always)]
fn row<S: Simd>(s: S, values: &[f32], gate: &[f32], out: &mut [f32]) {
    for first in (0..out.len()).step_by(S::LANES) {
        let sum = s.mul_add(get(s, values, first), get(s, gate, first), get(s, out, first));
        put(s, sum, out, first);
    }
}
