//! Block formats of GGUF: groups of 32 or 256 numbers that share one or two scales.
//!
//! One file per family of formats. A decoder takes whole blocks and writes every number of them; its inner loops have
//! fixed lengths and no branches, so that the compiler turns them into vector instructions.
//!
//! Reference: ggml `src/ggml-common.h`, `src/ggml-quants.c` at d99724f.

pub(super) mod iq;
pub(super) mod k_quants;
pub(super) mod k_quants_encode;
pub(super) mod legacy;

/// Every block of `bytes` with the numbers that it decodes to, or that it is made of.
fn zip_blocks<'a, const BYTES: usize, const LEN: usize>(
    bytes: &'a [u8],
    out: &'a mut [f32],
) -> impl Iterator<Item = (&'a [u8; BYTES], &'a mut [f32; LEN])> {
    let (blocks, rest) = bytes.as_chunks::<BYTES>();
    let (numbers, rest_of_out) = out.as_chunks_mut::<LEN>();
    assert!(rest.is_empty() && rest_of_out.is_empty() && blocks.len() == numbers.len(), "whole blocks and their numbers");
    blocks.iter().zip(numbers)
}

/// As [`zip_blocks`], to write the blocks.
fn zip_blocks_mut<'a, const BYTES: usize, const LEN: usize>(
    values: &'a [f32],
    out: &'a mut [u8],
) -> impl Iterator<Item = (&'a [f32; LEN], &'a mut [u8; BYTES])> {
    let (numbers, rest) = values.as_chunks::<LEN>();
    let (blocks, rest_of_out) = out.as_chunks_mut::<BYTES>();
    assert!(rest.is_empty() && rest_of_out.is_empty() && blocks.len() == numbers.len(), "whole blocks and their numbers");
    numbers.iter().zip(blocks)
}

/// A little-endian half-precision number.
///
/// Without branches and without asking for the processor's features: `half` does both for every single number, which
/// takes longer than the 32 numbers that the scale is for.
fn half(bytes: [u8; 2]) -> f32 {
    const TWO_TO_112: u32 = (112 + 127) << 23;
    const EXPONENT: u16 = 0x7c00;
    let bits = u16::from_le_bytes(bytes);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * f32::from_bits(TWO_TO_112)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let unsigned = if bits & EXPONENT == EXPONENT { special } else { finite };
    f32::from_bits(unsigned | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_precision_number_has_its_value() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = half(bits.to_le_bytes());
            assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{bits:#06x}");
        }
    }
}
