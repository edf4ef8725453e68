//! Functions of vectors.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use super::Simd;

/// Below it `2^x` is zero; also keeps minus infinity out of the arithmetic.
const LOWEST: f32 = -160.0;
/// From it on `2^x` is infinite.
const HIGHEST: f32 = 160.0;

/// `2^x` by a polynomial, highest coefficient first, of what `x` is above the nearest whole number.
#[inline(always)]
fn exp2_by<S: Simd, const N: usize>(s: S, x: S::V, coefficients: [f32; N]) -> S::V {
    exp2_of_negative_by(s, s.min(s.splat(HIGHEST), x), coefficients)
}

/// The same for what is below [`HIGHEST`], such as no number above zero.
#[inline(always)]
fn exp2_of_negative_by<S: Simd, const N: usize>(s: S, x: S::V, coefficients: [f32; N]) -> S::V {
    let x = s.max(s.splat(LOWEST), x);
    let whole = s.round(x);
    let part = s.sub(x, whole);
    let mut value = s.splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        value = s.mul_add(value, part, s.splat(*coefficient));
    }
    s.scale(value, whole)
}

/// For a relative error of 2e-7.
const FINE: [f32; 6] = [
    0.001_327_646_968_892_155_3,
    0.009_675_541_316_077_388,
    0.055_507_132_806_238,
    0.240_221_197_242_973_92,
    0.693_146_967_060_399_1,
    1.000_000_071_654_543_6,
];
/// For a relative error of 1e-4.
const COARSE: [f32; 4] = [0.055_171_648_942_240_296, 0.242_611_120_651_762_57, 0.693_260_989_173_595_6, 0.999_928_073_729_181_6];

/// `2^x`, relative error 2e-7.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(s: S, x: S::V) -> S::V {
    exp2_by(s, x, FINE)
}

/// `2^x` for `x` not above zero, relative error 2e-7.
#[inline(always)]
pub(crate) fn exp2_of_negative<S: Simd>(s: S, x: S::V) -> S::V {
    exp2_of_negative_by(s, x, FINE)
}

/// `2^x` for `x` not above zero, relative error 1e-4: for what is then rounded to bf16.
#[inline(always)]
pub(crate) fn exp2_of_negative_coarse<S: Simd>(s: S, x: S::V) -> S::V {
    exp2_of_negative_by(s, x, COARSE)
}

/// `x / (1 + 2^exponent)`.
#[inline(always)]
fn logistic_share<S: Simd>(s: S, x: S::V, exponent: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp2(s, exponent)))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    logistic_share(s, x, s.mul(x, s.splat(-LOG2_E)))
}

/// `x / (1 + e^-1.702x)`, GELU by a logistic function. arXiv 1606.08415, section 2.
#[inline(always)]
pub(crate) fn gelu_quick<S: Simd>(s: S, x: S::V) -> S::V {
    logistic_share(s, x, s.mul(x, s.splat(-1.702 * LOG2_E)))
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044_715 x³)))`, that is `x / (1 + e^-2u)`. arXiv 1606.08415, section 2.
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    const FACTOR: f32 = -2.0 * 0.797_884_56 * LOG2_E;
    let cubic = s.mul_add(s.mul(x, x), s.splat(FACTOR * 0.044_715), s.splat(FACTOR));
    logistic_share(s, x, s.mul(x, cubic))
}

/// `x / 2 (1 + erf(x / sqrt 2))`.
#[inline(always)]
pub(crate) fn gelu_erf<S: Simd>(s: S, x: S::V) -> S::V {
    s.mul(x, normal_share(s, x))
}

/// `(1 + erf(x / sqrt 2)) / 2`, with erf to 1.5e-7: Abramowitz and Stegun 7.1.26.
#[inline(always)]
fn normal_share<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let z = s.mul(s.abs(x), s.splat(FRAC_1_SQRT_2));
    let t = s.div(one, s.mul_add(z, s.splat(0.327_591_1), one));
    let mut p = s.splat(1.061_405_429);
    for c in [-1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592] {
        p = s.mul_add(p, t, s.splat(c));
    }
    let e = exp2(s, s.mul(s.mul(z, z), s.splat(-LOG2_E)));
    // erfc(z) / 2: the share where x is negative.
    let half_tail = s.mul(s.mul(s.mul(p, t), e), s.splat(0.5));
    s.select_negative(x, half_tail, s.sub(one, half_tail))
}

/// `1 / (1 + 2^exponent)`.
#[inline(always)]
fn logistic<S: Simd>(s: S, exponent: S::V) -> S::V {
    s.div(s.splat(1.0), s.add(s.splat(1.0), exp2(s, exponent)))
}

/// The derivative of `x σ(v)`, where `v'` is `slope`: `σ + x σ (1 - σ) v'`.
#[inline(always)]
fn logistic_share_slope<S: Simd>(s: S, x: S::V, exponent: S::V, slope: S::V) -> S::V {
    let share = logistic(s, exponent);
    let rest = s.mul(share, s.sub(s.splat(1.0), share));
    s.mul_add(s.mul(x, rest), slope, share)
}

/// The derivative of [`silu`].
#[inline(always)]
pub(crate) fn silu_slope<S: Simd>(s: S, x: S::V) -> S::V {
    logistic_share_slope(s, x, s.mul(x, s.splat(-LOG2_E)), s.splat(1.0))
}

/// The derivative of [`gelu_quick`].
#[inline(always)]
pub(crate) fn gelu_quick_slope<S: Simd>(s: S, x: S::V) -> S::V {
    logistic_share_slope(s, x, s.mul(x, s.splat(-1.702 * LOG2_E)), s.splat(1.702))
}

/// The derivative of [`gelu_tanh`].
#[inline(always)]
pub(crate) fn gelu_tanh_slope<S: Simd>(s: S, x: S::V) -> S::V {
    const FACTOR: f32 = 2.0 * 0.797_884_56;
    let square = s.mul(x, x);
    let cubic = s.mul_add(square, s.splat(-LOG2_E * FACTOR * 0.044_715), s.splat(-LOG2_E * FACTOR));
    let slope = s.mul_add(square, s.splat(3.0 * FACTOR * 0.044_715), s.splat(FACTOR));
    logistic_share_slope(s, x, s.mul(x, cubic), slope)
}

/// The derivative of [`gelu_erf`], `Φ(x) + x φ(x)`.
#[inline(always)]
pub(crate) fn gelu_erf_slope<S: Simd>(s: S, x: S::V) -> S::V {
    const INVERSE_SQRT_2_PI: f32 = 0.398_942_28;
    let density = s.mul(exp2(s, s.mul(s.mul(x, x), s.splat(-0.5 * LOG2_E))), s.splat(INVERSE_SQRT_2_PI));
    s.mul_add(x, density, normal_share(s, x))
}
