//! Activations.

use super::lanes::{get, put};
use super::{Source, each_rows};
use crate::cpu::with_vectors;
use crate::simd::Simd;
use crate::{Activation, Cpu};

/// `out = activation(source)`.
///
/// # Panics
/// If the source is not as long as the output.
pub fn activate(cpu: Cpu, activation: Activation, source: Source<'_>, out: &mut [f32]) {
    with_vectors!(cpu, s => each_rows(source, out, 1, |_, source, out| s.vectorize(
        #[inline(always)]
        || match activation {
            // Chosen once, not for every vector.
            Activation::None => apply(s, Activation::None, source, out),
            Activation::GeluTanh => apply(s, Activation::GeluTanh, source, out),
            Activation::GeluErf => apply(s, Activation::GeluErf, source, out),
            Activation::GeluQuick => apply(s, Activation::GeluQuick, source, out),
            Activation::Silu => apply(s, Activation::Silu, source, out),
            Activation::Relu => apply(s, Activation::Relu, source, out),
        },
    )));
}

#[inline(always)]
fn apply<S: Simd>(s: S, activation: Activation, source: Source<'_>, out: &mut [f32]) {
    for first in (0..out.len()).step_by(S::LANES) {
        let x = get(s, source.or(out), first);
        put(s, activation.apply(s, x), out, first);
    }
}

/// `out = activation(source) · factor`, as gated feed-forward layers have it.
///
/// # Panics
/// If the factors or the source are not as many as the numbers.
pub fn activate_and_multiply(cpu: Cpu, activation: Activation, source: Source<'_>, factor: &[f32], out: &mut [f32]) {
    assert_eq!(factor.len(), out.len(), "factors and numbers");
    with_vectors!(cpu, s => each_rows(source, out, 1, |first, source, out| s.vectorize(
        #[inline(always)]
        || multiply(s, activation, source, &factor[first..first + out.len()], out),
    )));
}

#[inline(always)]
fn multiply<S: Simd>(s: S, activation: Activation, source: Source<'_>, factor: &[f32], out: &mut [f32]) {
    for first in (0..out.len()).step_by(S::LANES) {
        let x = activation.apply(s, get(s, source.or(out), first));
        put(s, s.mul(x, get(s, factor, first)), out, first);
    }
}
