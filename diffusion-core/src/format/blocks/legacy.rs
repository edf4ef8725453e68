//! The formats with 32 numbers per block: one scale, or a scale and a minimum.

use half::f16;

use super::{half, zip_blocks, zip_blocks_mut};

/// Numbers per block.
pub(in crate::format) const LEN: usize = 32;

/// Number `j` of a block is in the low half of byte `j`, number `j + 16` in its high half.
const HALF: usize = LEN / 2;

pub(in crate::format) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, quants @ ..], out) in zip_blocks::<18, LEN>(bytes, out) {
        let scale = half([*d0, *d1]);
        let (low, high) = out.split_at_mut(HALF);
        for ((low, high), &quant) in low.iter_mut().zip(high).zip(quants) {
            *low = f32::from((quant & 15) as i8 - 8) * scale;
            *high = f32::from((quant >> 4) as i8 - 8) * scale;
        }
    }
}

pub(in crate::format) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, m0, m1, quants @ ..], out) in zip_blocks::<20, LEN>(bytes, out) {
        let (scale, minimum) = (half([*d0, *d1]), half([*m0, *m1]));
        let (low, high) = out.split_at_mut(HALF);
        for ((low, high), &quant) in low.iter_mut().zip(high).zip(quants) {
            *low = f32::from(quant & 15) * scale + minimum;
            *high = f32::from(quant >> 4) * scale + minimum;
        }
    }
}

pub(in crate::format) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, h0, h1, h2, h3, quants @ ..], out) in zip_blocks::<22, LEN>(bytes, out) {
        let scale = half([*d0, *d1]);
        for (out, quant) in out.iter_mut().zip(five_bits([*h0, *h1, *h2, *h3], quants)) {
            *out = f32::from(quant as i8 - 16) * scale;
        }
    }
}

pub(in crate::format) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, m0, m1, h0, h1, h2, h3, quants @ ..], out) in zip_blocks::<24, LEN>(bytes, out) {
        let (scale, minimum) = (half([*d0, *d1]), half([*m0, *m1]));
        for (out, quant) in out.iter_mut().zip(five_bits([*h0, *h1, *h2, *h3], quants)) {
            *out = f32::from(quant) * scale + minimum;
        }
    }
}

/// Four bits from `quants`, the fifth of number `j` from bit `j` of `high`.
fn five_bits(high: [u8; 4], quants: &[u8; HALF]) -> [u8; LEN] {
    let mut codes = [0; LEN];
    for (j, code) in codes.iter_mut().enumerate() {
        *code = (high[j / 8] >> (j % 8) & 1) << 4;
    }
    let (first, second) = codes.split_at_mut(HALF);
    for ((first, second), &quant) in first.iter_mut().zip(second).zip(quants) {
        *first |= quant & 15;
        *second |= quant >> 4;
    }
    codes
}

pub(in crate::format) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, quants @ ..], out) in zip_blocks::<34, LEN>(bytes, out) {
        let scale = half([*d0, *d1]);
        for (out, &quant) in out.iter_mut().zip(quants) {
            *out = f32::from(quant as i8) * scale;
        }
    }
}

/// `1 / scale`, or 0 where that is no number: all codes of such a block are 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// `f32::round` of a number that an `i32` can hold. Baseline x86-64 has no instruction for it, but for this.
fn round(value: f32) -> f32 {
    let magnitude = value.abs();
    let whole = magnitude as i32 as f32;
    let rounded = whole + (2.0 * (magnitude - whole)) as i32 as f32;
    rounded.copysign(value)
}

/// The largest magnitude gets code ±127.
pub(in crate::format) fn encode_q8_0(values: &[f32], out: &mut [u8]) {
    for (values, [d0, d1, quants @ ..]) in zip_blocks_mut::<34, LEN>(values, out) {
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = inverse(scale);
        [*d0, *d1] = f16::from_f32(scale).to_le_bytes();
        for (quant, value) in quants.iter_mut().zip(values) {
            *quant = round(value * inverse) as i8 as u8;
        }
    }
}

/// The number of largest magnitude gets code 0, which stands for -8: the scale has the other sign than that number.
pub(in crate::format) fn encode_q4_0(values: &[f32], out: &mut [u8]) {
    for (values, [d0, d1, quants @ ..]) in zip_blocks_mut::<18, LEN>(values, out) {
        let extreme = values.iter().fold(0f32, |extreme, &value| if value.abs() > extreme.abs() { value } else { extreme });
        let scale = extreme / -8.0;
        let inverse = inverse(scale);
        [*d0, *d1] = f16::from_f32(scale).to_le_bytes();
        let code = |value: f32| ((value * inverse + 8.5) as u8).min(15);
        let (low, high) = values.split_at(HALF);
        for ((quant, &low), &high) in quants.iter_mut().zip(low).zip(high) {
            *quant = code(low) | code(high) << 4;
        }
    }
}
