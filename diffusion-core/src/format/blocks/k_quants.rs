//! The formats with 256 numbers per block: sub-blocks of 16 or 32 with small scales of their own.

use super::{half, zip_blocks};

/// Numbers per block.
pub(in crate::format) const LEN: usize = 256;

/// Where the two low bits of sub-block `i` of 16 numbers lie: the first byte of 16, and the shift.
///
/// Each group of 32 bytes holds 128 numbers, four to a byte, number `e` and `e + 32` in the same byte.
fn two_bits(i: usize) -> (usize, usize) {
    (i / 8 * 32 + i % 2 * 16, i % 8 / 2 * 2)
}

pub(in crate::format) fn q2_k(bytes: &[u8], out: &mut [f32]) {
    for ([fields @ .., d0, d1, m0, m1], out) in zip_blocks::<84, LEN>(bytes, out) {
        let (scales, quants) = fields.split_at(16);
        let (scale, minimum) = (half([*d0, *d1]), half([*m0, *m1]));
        for (i, (out, &packed)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
            let (scale, minimum) = (scale * f32::from(packed & 15), minimum * f32::from(packed >> 4));
            let (first, shift) = two_bits(i);
            for (out, &quant) in out.iter_mut().zip(&quants[first..first + 16]) {
                *out = scale * f32::from(quant >> shift & 3) - minimum;
            }
        }
    }
}

pub(in crate::format) fn q3_k(bytes: &[u8], out: &mut [f32]) {
    for ([fields @ .., d0, d1], out) in zip_blocks::<110, LEN>(bytes, out) {
        let (high, fields) = fields.split_at(32);
        let (quants, scales) = fields.split_at(64);
        let scale = half([*d0, *d1]);
        for (i, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let low_bits = scales[i % 8] >> (i / 8 * 4) & 15;
            let high_bits = scales[8 + i % 4] >> (i / 4 * 2) & 3;
            let scale = scale * f32::from((low_bits | high_bits << 4) as i8 - 32);
            let (first, shift) = two_bits(i);
            let high = &high[i % 2 * 16..][..16];
            for ((out, &quant), &high) in out.iter_mut().zip(&quants[first..first + 16]).zip(high) {
                // The third bit counts when it is set, and 4 is taken off: together, 4 off where it is not set.
                let code = (quant >> shift & 3) | (high >> (i / 2) & 1) << 2;
                *out = scale * f32::from(code as i8 - 4);
            }
        }
    }
}

pub(in crate::format) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, m0, m1, fields @ ..], out) in zip_blocks::<144, LEN>(bytes, out) {
        let (scales, quants) = fields.split_at(12);
        let (scale, minimum) = (half([*d0, *d1]), half([*m0, *m1]));
        for (i, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (small_scale, small_minimum) = scale_and_minimum(scales, i);
            let (scale, minimum) = (scale * small_scale, minimum * small_minimum);
            let shift = i % 2 * 4;
            for (out, &quant) in out.iter_mut().zip(&quants[i / 2 * 32..][..32]) {
                *out = scale * f32::from(quant >> shift & 15) - minimum;
            }
        }
    }
}

pub(in crate::format) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    for ([d0, d1, m0, m1, fields @ ..], out) in zip_blocks::<176, LEN>(bytes, out) {
        let (scales, fields) = fields.split_at(12);
        let (high, quants) = fields.split_at(32);
        let (scale, minimum) = (half([*d0, *d1]), half([*m0, *m1]));
        for (i, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (small_scale, small_minimum) = scale_and_minimum(scales, i);
            let (scale, minimum) = (scale * small_scale, minimum * small_minimum);
            let shift = i % 2 * 4;
            for ((out, &quant), &high) in out.iter_mut().zip(&quants[i / 2 * 32..][..32]).zip(high) {
                *out = scale * f32::from(quant >> shift & 15 | (high >> i & 1) << 4) - minimum;
            }
        }
    }
}

/// Scale and minimum of sub-block `i` of eight, six bits each, in twelve bytes.
fn scale_and_minimum(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        let low = packed[i + 4];
        (low & 15 | packed[i - 4] >> 6 << 4, low >> 4 | packed[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

pub(in crate::format) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    for ([fields @ .., d0, d1], out) in zip_blocks::<210, LEN>(bytes, out) {
        let (low, fields) = fields.split_at(128);
        let (high, scales) = fields.split_at(64);
        let scale = half([*d0, *d1]);
        for (i, (out, &small_scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
            let scale = scale * f32::from(small_scale as i8);
            // Half of the block, run of 32 numbers in it, half of that run.
            let (half, run, part) = (i / 8, i % 8 / 2, i % 2 * 16);
            let low = &low[half * 64 + run % 2 * 32 + part..][..16];
            let high = &high[half * 32 + part..][..16];
            let (low_shift, high_shift) = (run / 2 * 4, run * 2);
            for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
                let code = low >> low_shift & 15 | (high >> high_shift & 3) << 4;
                *out = scale * f32::from(code as i8 - 32);
            }
        }
    }
}
