//! Encoding of `Q4_K`: each sub-block of 32 numbers gets the line through its codes that errs least.

use half::f16;

use super::{half, k_quants, zip_blocks_mut};

const SUB_BLOCK: usize = 32;
const LARGEST_CODE: f32 = 15.0;
/// Scales and minima of sub-blocks are stored in six bits.
const LARGEST_STEPS: f32 = 63.0;

/// Reference: ggml `src/ggml-quants.c`, `quantize_row_q4_K_ref`: without an importance matrix.
pub(in crate::format) fn encode_q4_k(values: &[f32], out: &mut [u8]) {
    for (values, [d0, d1, m0, m1, fields @ ..]) in zip_blocks_mut::<144, { k_quants::LEN }>(values, out) {
        let (packed, quants) = fields.split_at_mut(12);
        packed.fill(0);
        quants.fill(0);
        let sub_blocks = values.as_chunks::<SUB_BLOCK>().0;
        let mut lines = [Line::default(); k_quants::LEN / SUB_BLOCK];
        let mut largest = Line::default();
        for (line, values) in lines.iter_mut().zip(sub_blocks) {
            *line = Line::fit(values);
            largest.scale = largest.scale.max(line.scale);
            largest.minimum = largest.minimum.max(line.minimum);
        }
        let units = [largest.scale, largest.minimum].map(|largest| f16::from_f32(largest / LARGEST_STEPS).to_le_bytes());
        [[*d0, *d1], [*m0, *m1]] = units;
        let [scale_unit, minimum_unit] = units.map(half);
        for (i, (line, values)) in lines.iter().zip(sub_blocks).enumerate() {
            let (scale, minimum) = (steps(line.scale, largest.scale), steps(line.minimum, largest.minimum));
            pack_steps(packed, i, scale, minimum);
            let line = Line { scale: scale_unit * f32::from(scale), minimum: minimum_unit * f32::from(minimum) };
            if line.scale == 0.0 {
                continue;
            }
            let codes = values.map(|value| code((value + line.minimum) / line.scale));
            for (quant, code) in quants[i / 2 * SUB_BLOCK..].iter_mut().zip(codes) {
                *quant |= (code as u8) << (i % 2 * 4);
            }
        }
    }
}

/// The nearest code, the even one of two.
fn code(position: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves no bits for a fraction. Written so that baseline x86-64 has vector instructions for all of it.
    const ROUND: f32 = 12_582_912.0;
    let position = if position > 0.0 { position } else { 0.0 };
    let position = if position < LARGEST_CODE { position } else { LARGEST_CODE };
    (position + ROUND) - ROUND
}

fn steps(value: f32, largest: f32) -> u8 {
    if largest > 0.0 { (value * (LARGEST_STEPS / largest)).round_ties_even().min(LARGEST_STEPS) as u8 } else { 0 }
}

/// The inverse of `k_quants::scale_and_minimum`.
fn pack_steps(packed: &mut [u8], i: usize, scale: u8, minimum: u8) {
    if i < 4 {
        packed[i] = scale;
        packed[i + 4] = minimum;
    } else {
        packed[i + 4] = scale & 15 | (minimum & 15) << 4;
        packed[i - 4] |= scale >> 4 << 6;
        packed[i] |= minimum >> 4 << 6;
    }
}

/// `value = scale · code - minimum`, neither of the two negative.
#[derive(Clone, Copy, Default)]
struct Line {
    scale: f32,
    minimum: f32,
}

impl Line {
    /// Codes for several stretches of the range of values, the weighted least-squares line for each, and the best of them.
    /// Large numbers weigh more: they matter more to a product.
    fn fit(values: &SubBlock) -> Self {
        let low = values.iter().fold(0f32, |low, &value| low.min(value));
        let high = values.iter().fold(f32::NEG_INFINITY, |high, &value| high.max(value));
        let range = high - low;
        if range <= 0.0 {
            return Self { scale: 0.0, minimum: -low };
        }
        let mean = (sum(|i| values[i] * values[i]) / SUB_BLOCK as f32).sqrt();
        let points = Points::new(values, values.map(|value| mean + value.abs()));

        let codes = |largest: f32| {
            let inverse_scale = largest / range;
            let mut codes = [0f32; SUB_BLOCK];
            for (to, value) in codes.iter_mut().zip(values) {
                *to = code(inverse_scale * (value - low));
            }
            codes
        };
        let mut best = Self { scale: range / LARGEST_CODE, minimum: -low };
        let mut best_error = points.error(best, &codes(LARGEST_CODE));
        for stretch in 0..=20u8 {
            let codes = codes(LARGEST_CODE - 1.0 + 0.1 * f32::from(stretch));
            let Some(line) = points.least_squares(&codes) else { continue };
            let error = points.error(line, &codes);
            if error < best_error {
                (best, best_error) = (line, error);
            }
        }
        best
    }
}

type SubBlock = [f32; SUB_BLOCK];

/// Values that a line is to go through, with their weights.
struct Points<'a> {
    values: &'a SubBlock,
    weights: SubBlock,
    sum_of_weights: f32,
    sum_of_values: f32,
}

impl<'a> Points<'a> {
    fn new(values: &'a SubBlock, weights: SubBlock) -> Self {
        Self { values, weights, sum_of_weights: sum(|i| weights[i]), sum_of_values: sum(|i| weights[i] * values[i]) }
    }

    fn least_squares(&self, codes: &SubBlock) -> Option<Line> {
        let Self { values, weights, sum_of_weights, sum_of_values } = self;
        let sum_of_codes = sum(|i| weights[i] * codes[i]);
        let squares = sum(|i| weights[i] * codes[i] * codes[i]);
        let products = sum(|i| weights[i] * codes[i] * values[i]);
        let determinant = sum_of_weights * squares - sum_of_codes * sum_of_codes;
        if determinant <= 0.0 {
            return None;
        }
        let offset = (squares * sum_of_values - sum_of_codes * products) / determinant;
        Some(if offset > 0.0 {
            Line { scale: products / squares, minimum: 0.0 }
        } else {
            Line { scale: (sum_of_weights * products - sum_of_values * sum_of_codes) / determinant, minimum: -offset }
        })
    }

    fn error(&self, line: Line, codes: &SubBlock) -> f32 {
        sum(|i| {
            let difference = line.scale * codes[i] - line.minimum - self.values[i];
            self.weights[i] * difference * difference
        })
    }
}

/// The sum over a sub-block, in as many parts as vector registers have numbers.
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0f32; LANES];
    for first in (0..SUB_BLOCK).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + lane);
        }
    }
    sums.iter().sum()
}
