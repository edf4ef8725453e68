//! Formats whose codes stand for entries of a fixed table.

use super::{half, zip_blocks};

/// Values of `IQ4_NL`'s codes. Reference: ggml `src/ggml-common.h`, `kvalues_iq4nl`.
pub(crate) const IQ4_NL_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(in crate::format) fn iq4_nl(bytes: &[u8], out: &mut [f32]) {
    let values = IQ4_NL_VALUES.map(f32::from);
    for ([d0, d1, quants @ ..], out) in zip_blocks::<18, 32>(bytes, out) {
        let scale = half([*d0, *d1]);
        // Sixteen products first: a look-up per number is then all that is left.
        let values = values.map(|value| value * scale);
        let (low, high) = out.split_at_mut(16);
        for ((low, high), &quant) in low.iter_mut().zip(high).zip(quants) {
            *low = values[usize::from(quant & 15)];
            *high = values[usize::from(quant >> 4)];
        }
    }
}
