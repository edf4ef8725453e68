//! Layer norm with what follows it.

use super::lanes::{get, put, sum};
use super::{Source, each_rows};
use crate::cpu::with_vectors;
use crate::simd::Simd;
use crate::{Cpu, PerImage};

/// What normalised numbers are multiplied by, and what is added to them.
#[derive(Clone, Copy, Debug)]
pub enum Affine<'a> {
    /// Nothing.
    None,
    /// `x · weight + bias`, the same for all rows.
    Weight {
        /// `[width]`
        weight: &'a [f32],
        /// `[width]`
        bias: &'a [f32],
    },
    /// `x · (1 + scale) + shift`, of each image's own.
    Modulation {
        /// `[images, width]`
        scale: PerImage<'a>,
        /// `[images, width]`
        shift: PerImage<'a>,
    },
}

/// `affine((x - mean) / sqrt(variance + epsilon))` of each row of `width` numbers of the source.
///
/// # Panics
/// If the lengths do not fit together.
pub fn layer_norm(cpu: Cpu, source: Source<'_>, width: usize, affine: Affine<'_>, epsilon: f32, out: &mut [f32]) {
    let rows = out.len() / width.max(1);
    match affine {
        Affine::None => {}
        Affine::Weight { weight, bias } => {
            assert!(weight.len() == width && bias.len() == width, "weight and bias of rows of {width}");
        }
        Affine::Modulation { scale, shift } => {
            scale.check(rows, width, "the scale");
            shift.check(rows, width, "the shift");
        }
    }
    with_vectors!(cpu, s => each_rows(source, out, width, |first_row, source, out| s.vectorize(
        #[inline(always)]
        || {
            for (index, out) in out.chunks_exact_mut(width).enumerate() {
                let source = source.part(index * width, width);
                match affine {
                    Affine::None => normalise(s, source, epsilon, Factors { scale: None, one: 0.0, shift: None }, out),
                    Affine::Weight { weight, bias } => {
                        let factors = Factors { scale: Some(weight), one: 0.0, shift: Some(bias) };
                        normalise(s, source, epsilon, factors, out);
                    }
                    Affine::Modulation { scale, shift } => {
                        let row = first_row + index;
                        let (scale, shift) = (Some(scale.of_row(row, width)), Some(shift.of_row(row, width)));
                        normalise(s, source, epsilon, Factors { scale, one: 1.0, shift }, out);
                    }
                }
            }
        },
    )));
}

/// `x · (one + scale) + shift` for one row.
struct Factors<'a> {
    scale: Option<&'a [f32]>,
    one: f32,
    shift: Option<&'a [f32]>,
}

#[inline(always)]
fn normalise<S: Simd>(s: S, source: Source<'_>, epsilon: f32, factors: Factors<'_>, out: &mut [f32]) {
    let (means, factor) = mean_and_factor(s, source.or(out), epsilon);
    let one = s.splat(factors.one);
    for first in (0..out.len()).step_by(S::LANES) {
        let gain = match factors.scale {
            Some(scale) => s.mul(factor, s.add(one, get(s, scale, first))),
            None => factor,
        };
        let difference = s.sub(get(s, source.or(out), first), means);
        let shift = match factors.shift {
            Some(shift) => get(s, shift, first),
            None => s.zero(),
        };
        put(s, s.mul_add(difference, gain, shift), out, first);
    }
}

/// The mean of a row, and `1 / sqrt(variance + epsilon)`, in every lane.
#[inline(always)]
pub(super) fn mean_and_factor<S: Simd>(s: S, x: &[f32], epsilon: f32) -> (S::V, S::V) {
    let width = x.len() as f32;
    let mean = sum(
        s,
        x,
        0.0,
        #[inline(always)]
        |sum, x| s.add(sum, x),
    ) / width;
    let means = s.splat(mean);
    let squares = sum(
        s,
        x,
        mean,
        #[inline(always)]
        |sum, x| {
            let difference = s.sub(x, means);
            s.mul_add(difference, difference, sum)
        },
    );
    (means, s.splat((squares / width + epsilon).sqrt().recip()))
}
