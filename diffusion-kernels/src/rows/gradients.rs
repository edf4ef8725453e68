//! Gradients of what lies between products, with respect to its input: each one pass over the rows.

use super::lanes::{get, put};
use super::layer_norm::mean_and_factor;
use super::rms_norm::rms_factor;
use super::{HeadNorm, Rope, Source, each_rows};
use crate::cpu::with_vectors;
use crate::simd::{Simd, gelu_erf_slope, gelu_quick_slope, gelu_tanh_slope, silu_slope};
use crate::{Activation, Cpu, PerImage};

/// `out = gradient · activation'(x)`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn activate_backward(cpu: Cpu, activation: Activation, x: &[f32], gradient: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "inputs and gradients");
    with_vectors!(cpu, s => each_rows(Source::From(gradient), out, 1, |first, gradient, out| s.vectorize(
        #[inline(always)]
        || {
            let (x, gradient) = (&x[first..first + out.len()], gradient.or(&[]));
            match activation {
                // Chosen once, not for every vector.
                Activation::None => slopes(s, #[inline(always)] |_| s.splat(1.0), x, gradient, out),
                Activation::GeluTanh => slopes(s, #[inline(always)] |x| gelu_tanh_slope(s, x), x, gradient, out),
                Activation::GeluErf => slopes(s, #[inline(always)] |x| gelu_erf_slope(s, x), x, gradient, out),
                Activation::GeluQuick => slopes(s, #[inline(always)] |x| gelu_quick_slope(s, x), x, gradient, out),
                Activation::Silu => slopes(s, #[inline(always)] |x| silu_slope(s, x), x, gradient, out),
                Activation::Relu => slopes(
                    s,
                    #[inline(always)]
                    |x| s.select_negative(s.sub(s.zero(), x), s.splat(1.0), s.zero()),
                    x,
                    gradient,
                    out,
                ),
            }
        },
    )));
}

#[inline(always)]
fn slopes<S: Simd>(s: S, slope: impl Fn(S::V) -> S::V, x: &[f32], gradient: &[f32], out: &mut [f32]) {
    for first in (0..out.len()).step_by(S::LANES) {
        put(s, s.mul(slope(get(s, x, first)), get(s, gradient, first)), out, first);
    }
}

/// The gradient of a modulated layer norm, `(x - mean) / sqrt(variance + epsilon) · (1 + scale) + shift`, with respect to `x`.
///
/// # Panics
/// If the lengths do not fit together.
pub fn layer_norm_backward(
    cpu: Cpu,
    x: &[f32],
    width: usize,
    scale: PerImage<'_>,
    epsilon: f32,
    gradient: &[f32],
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len(), "inputs and gradients");
    scale.check(out.len() / width.max(1), width, "the scale");
    with_vectors!(cpu, s => each_rows(Source::From(gradient), out, width, |first_row, gradient, out| s.vectorize(
        #[inline(always)]
        || {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                let row = first_row + index;
                let gradient = gradient.part(index * width, width).or(&[]);
                layer_norm_row(s, &x[row * width..(row + 1) * width], scale.of_row(row, width), epsilon, gradient, out);
            }
        },
    )));
}

#[inline(always)]
fn layer_norm_row<S: Simd>(s: S, x: &[f32], scale: &[f32], epsilon: f32, gradient: &[f32], out: &mut [f32]) {
    let width = out.len() as f32;
    let (means, factor) = mean_and_factor(s, x, epsilon);
    let one = s.splat(1.0);
    // With `g` the gradient of the normalised numbers `n`: `factor (g - mean(g) - n mean(g n))`.
    let (mut sums, mut products) = (s.zero(), s.zero());
    for first in (0..out.len()).step_by(S::LANES) {
        let g = s.mul(get(s, gradient, first), s.add(one, get(s, scale, first)));
        let normalised = s.mul(s.sub(get(s, x, first), means), factor);
        sums = s.add(sums, g);
        products = s.mul_add(g, normalised, products);
        put(s, g, out, first);
    }
    let (mean_gradient, mean_product) = (s.splat(s.sum(sums) / width), s.splat(s.sum(products) / width));
    for first in (0..out.len()).step_by(S::LANES) {
        let normalised = s.mul(s.sub(get(s, x, first), means), factor);
        let rest = s.sub(s.sub(get(s, out, first), mean_gradient), s.mul(normalised, mean_product));
        put(s, s.mul(rest, factor), out, first);
    }
}

/// The gradient of [`normalise_heads`](super::normalise_heads) with respect to its input `x`.
///
/// # Shapes
/// - x, gradient and out: `[tokens, heads · head_dim]`
///
/// # Panics
/// If the lengths do not fit together, or heads have an odd length where they are turned.
pub fn normalise_heads_backward(
    cpu: Cpu,
    norm: HeadNorm<'_>,
    rope: Option<Rope<'_>>,
    heads: usize,
    x: &[f32],
    gradient: &[f32],
    out: &mut [f32],
) {
    let dim = norm.weight.len();
    assert_eq!(x.len(), out.len(), "inputs and gradients");
    if let Some(rope) = rope {
        rope.check(dim, out.len() / (heads * dim).max(1));
    }
    with_vectors!(cpu, s => each_rows(Source::From(gradient), out, heads * dim, |first_token, gradient, out| s.vectorize(
        #[inline(always)]
        || {
            let gradient = gradient.or(&[]);
            for (index, (out, gradient)) in out.chunks_exact_mut(heads * dim).zip(gradient.chunks_exact(heads * dim)).enumerate() {
                let token = first_token + index;
                let turn = rope.map(#[inline(always)] |rope| rope.of_token(token, dim));
                let x = &x[token * heads * dim..(token + 1) * heads * dim];
                let rows = out.chunks_exact_mut(dim).zip(x.chunks_exact(dim)).zip(gradient.chunks_exact(dim));
                for ((out, x), gradient) in rows {
                    head_row(s, norm, turn, x, gradient, out);
                }
            }
        },
    )));
}

#[inline(always)]
fn head_row<S: Simd>(s: S, norm: HeadNorm<'_>, turn: Option<Rope<'_>>, x: &[f32], gradient: &[f32], out: &mut [f32]) {
    let dim = x.len() as f32;
    let factors = rms_factor(s, x, norm.epsilon);
    // With `g` the gradient, turned back, times the weight: `factor (g - x factor² mean(g x))`.
    let mut products = s.zero();
    for pair in (0..out.len()).step_by(2 * S::LANES) {
        let (cos, sin) = match turn {
            Some(Rope { cos, sin }) => {
                let (cos, sin) = (get(s, cos, pair / 2), get(s, sin, pair / 2));
                (s.interleave(cos, cos), s.interleave(sin, s.sub(s.zero(), sin)))
            }
            None => ([s.splat(1.0); 2], [s.zero(); 2]),
        };
        for half in 0..2 {
            let first = pair + half * S::LANES;
            let g = get(s, gradient, first);
            let g = if turn.is_some() { s.mul_add(g, cos[half], s.mul(s.swap_pairs(g), sin[half])) } else { g };
            let g = s.mul(g, get(s, norm.weight, first));
            products = s.mul_add(g, get(s, x, first), products);
            put(s, g, out, first);
        }
    }
    let share = s.mul(s.mul(s.splat(s.sum(products) / dim), factors), factors);
    for first in (0..out.len()).step_by(S::LANES) {
        let rest = s.sub(get(s, out, first), s.mul(get(s, x, first), share));
        put(s, s.mul(rest, factors), out, first);
    }
}

/// `out = gate · gradient` for each row of `width` numbers: the gradient of what a gated residual adds.
///
/// # Panics
/// If the lengths do not fit together.
pub fn gate_rows(cpu: Cpu, gradient: &[f32], gate: PerImage<'_>, width: usize, out: &mut [f32]) {
    gate.check(out.len() / width.max(1), width, "the gate");
    with_vectors!(cpu, s => each_rows(Source::From(gradient), out, width, |first_row, gradient, out| s.vectorize(
        #[inline(always)]
        || {
            let gradient = gradient.or(&[]);
            for (index, (out, gradient)) in out.chunks_exact_mut(width).zip(gradient.chunks_exact(width)).enumerate() {
                gate_row(s, gradient, gate.of_row(first_row + index, width), out);
            }
        },
    )));
}

#[inline(always)]
fn gate_row<S: Simd>(s: S, gradient: &[f32], gate: &[f32], out: &mut [f32]) {
    for first in (0..out.len()).step_by(S::LANES) {
        put(s, s.mul(get(s, gradient, first), get(s, gate, first)), out, first);
    }
}
