//! Group norm of images.

use rayon::prelude::*;

use super::lanes::{get, put, sum};
use super::{CHUNK, Source};
use crate::cpu::with_vectors;
use crate::simd::Simd;
use crate::{Activation, Cpu};

/// The parameters of a group norm.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
    /// Groups that channels are divided into, in order.
    pub groups: usize,
    /// `[channels]`
    pub weight: &'a [f32],
    /// `[channels]`
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// A norm whose means and deviations are known: `x · factor + offset` for each channel of each image.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelNorm {
    /// `[images, channels]`
    pub factor: Vec<f32>,
    /// `[images, channels]`
    pub offset: Vec<f32>,
}

/// Numbers that are added up in f32.
const BLOCK: usize = 1024;

/// The group norm of `x`, as a factor and an offset of each channel: for who reads `x` next to apply.
///
/// # Shapes
/// - x: `[images, channels, pixels]`
///
/// # Panics
/// If the lengths do not fit together, or channels are no whole number of groups.
pub fn group_norm(cpu: Cpu, norm: GroupNorm<'_>, pixels: usize, x: &[f32]) -> ChannelNorm {
    let channels = norm.weight.len();
    assert!(norm.groups > 0 && channels.is_multiple_of(norm.groups), "{channels} channels in {} groups", norm.groups);
    assert_eq!(norm.bias.len(), channels, "bias of {channels} channels");
    let (image, per_group) = (channels * pixels, channels / norm.groups);
    if x.is_empty() {
        return ChannelNorm { factor: vec![], offset: vec![] };
    }
    assert!(image > 0 && x.len().is_multiple_of(image), "{} numbers in images of {image}", x.len());
    let len = per_group * pixels;
    // Parts that all threads can share, each with sums of its own; their number does not depend on that of the threads.
    let part = len.min(CHUNK);
    let parts = len.div_ceil(part);
    let groups = x.len() / len;
    let moments: Vec<[f64; 3]> = (0..groups * parts)
        .into_par_iter()
        .map(|index| {
            let group = &x[index / parts * len..][..len];
            let first = index % parts * part;
            let numbers = &group[first..len.min(first + part)];
            with_vectors!(cpu, s => s.vectorize(#[inline(always)] || moments_of(s, numbers)))
        })
        .collect();
    let (mut factor, mut offset) = (vec![], vec![]);
    for (group, parts) in moments.chunks_exact(parts).enumerate() {
        let (mean, variance) = combine(parts);
        let deviation = (variance + f64::from(norm.epsilon)).sqrt();
        for channel in group % norm.groups * per_group..(group % norm.groups + 1) * per_group {
            let gain = f64::from(norm.weight[channel]) / deviation;
            factor.push(gain as f32);
            offset.push((f64::from(norm.bias[channel]) - mean * gain) as f32);
        }
    }
    ChannelNorm { factor, offset }
}

/// Mean, sum of the squared differences from it, and how many numbers there are.
#[inline(always)]
fn moments_of<S: Simd>(s: S, numbers: &[f32]) -> [f64; 3] {
    // Differences from a number near the mean keep the digits that matter.
    let start = &numbers[..numbers.len().min(BLOCK)];
    let pivot = sum(
        s,
        start,
        0.0,
        #[inline(always)]
        |sum, x| s.add(sum, x),
    ) / start.len() as f32;
    let pivots = s.splat(pivot);
    let (mut total, mut squares) = (0.0, 0.0);
    for block in numbers.chunks(BLOCK) {
        total += f64::from(sum(
            s,
            block,
            pivot,
            #[inline(always)]
            |sum, x| s.add(sum, s.sub(x, pivots)),
        ));
        let squared = sum(
            s,
            block,
            pivot,
            #[inline(always)]
            |sum, x| {
                let difference = s.sub(x, pivots);
                s.mul_add(difference, difference, sum)
            },
        );
        squares += f64::from(squared);
    }
    let count = numbers.len() as f64;
    let from_pivot = total / count;
    [f64::from(pivot) + from_pivot, squares - total * from_pivot, count]
}

/// Mean and variance of all parts together.
fn combine(parts: &[[f64; 3]]) -> (f64, f64) {
    let len: f64 = parts.iter().map(|[_, _, count]| count).sum();
    let mean = parts.iter().map(|[mean, _, count]| mean * count).sum::<f64>() / len;
    let squares: f64 = parts.iter().map(|[own, squares, count]| squares + count * (own - mean) * (own - mean)).sum();
    (mean, squares / len)
}

impl ChannelNorm {
    /// `out = activation(source · factor + offset)`.
    ///
    /// # Shapes
    /// - source and out: `[images, channels, pixels]`
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn apply(&self, cpu: Cpu, activation: Activation, pixels: usize, source: Source<'_>, out: &mut [f32]) {
        source.check(out.len());
        assert_eq!(self.factor.len(), self.offset.len(), "factors and offsets");
        assert_eq!(out.len(), self.factor.len() * pixels, "numbers of {} channels of {pixels} pixels", self.factor.len());
        if out.is_empty() {
            return;
        }
        out.par_chunks_mut(pixels).enumerate().for_each(|(channel, out)| {
            let (factor, offset) = (self.factor[channel], self.offset[channel]);
            let source = source.part(channel * pixels, pixels);
            with_vectors!(cpu, s => s.vectorize(#[inline(always)] || apply(s, activation, [factor, offset], source, out)));
        });
    }
}

#[inline(always)]
fn apply<S: Simd>(s: S, activation: Activation, [factor, offset]: [f32; 2], source: Source<'_>, out: &mut [f32]) {
    let (factor, offset) = (s.splat(factor), s.splat(offset));
    for first in (0..out.len()).step_by(S::LANES) {
        let x = s.mul_add(get(s, source.or(out), first), factor, offset);
        put(s, activation.apply(s, x), out, first);
    }
}
