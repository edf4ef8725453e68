//! Numbers to test with, and weights in every format with what they stand for.
#![allow(dead_code, reason = "each test takes what it needs")]

use diffusion_kernels::{WeightFormat, WidenRows};
use half::{bf16, f16};

pub(crate) const FORMATS: [WeightFormat; 8] = [
    WeightFormat::F32,
    WeightFormat::F16,
    WeightFormat::Bf16,
    WeightFormat::F8E4M3,
    WeightFormat::F8E5M2,
    WeightFormat::Q8_0,
    WeightFormat::Q4_0,
    WeightFormat::Q4_K,
];

/// Evenly spread bits.
pub(crate) fn random_bits(len: usize, seed: u64) -> impl Iterator<Item = u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    })
}

/// Numbers in [-1, 1).
pub(crate) fn random(len: usize, seed: u64) -> Vec<f32> {
    random_bits(len, seed).map(|bits| (bits >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Rounded to bf16 and widened again.
pub(crate) fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect()
}

/// Root of the mean square of the difference, relative to that of the values.
pub(crate) fn error(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    let difference: f64 = found.iter().zip(exact).map(|(&found, exact)| (f64::from(found) - exact).powi(2)).sum();
    let size: f64 = exact.iter().map(|exact| exact * exact).sum();
    if difference == 0.0 { 0.0 } else { (difference / size).sqrt() }
}

/// A matrix as a file holds it, and its numbers.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) format: WeightFormat,
    pub(crate) bytes: Vec<u8>,
    pub(crate) numbers: Vec<f32>,
}

/// Numbers of usual size in `format`; as many as whole blocks hold.
pub(crate) fn stored(format: WeightFormat, len: usize, seed: u64) -> Stored {
    let (block_len, block_bytes) = format.block();
    assert_eq!(len % block_len, 0);
    let mut bytes: Vec<u8> = random_bits(len / block_len * block_bytes, seed).map(|bits| bits as u8).collect();
    let scale = |bits: u8| f16::from_f32(0.001 + f32::from(bits) / 50_000.0).to_le_bytes();
    for (block, value) in bytes.chunks_exact_mut(block_bytes).zip(random(len, seed ^ 1)) {
        match format {
            WeightFormat::F32 => block.copy_from_slice(&value.to_le_bytes()),
            WeightFormat::F16 => block.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
            WeightFormat::Bf16 => block.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
            // Neither infinite nor no number: not all bits of the exponent.
            WeightFormat::F8E4M3 | WeightFormat::F8E5M2 => block[0] &= 0xbf,
            WeightFormat::Q4_K => {
                let (scale, minimum) = (scale(block[0]), scale(block[2]));
                block[..2].copy_from_slice(&scale);
                block[2..4].copy_from_slice(&minimum);
            }
            _ => {
                let scale = scale(block[0]);
                block[..2].copy_from_slice(&scale);
            }
        }
    }
    let numbers = bytes.chunks_exact(block_bytes).flat_map(|block| (0..block_len).map(|at| number(format, block, at))).collect();
    Stored { format, bytes, numbers }
}

/// Number `at` of a block, by the definition of its format.
fn number(format: WeightFormat, block: &[u8], at: usize) -> f32 {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    match format {
        WeightFormat::F32 => f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        WeightFormat::F16 => half(0),
        WeightFormat::Bf16 => bf16::from_le_bytes([block[0], block[1]]).to_f32(),
        WeightFormat::F8E4M3 => {
            let (sign, exponent, mantissa) = (block[0] >> 7, i32::from(block[0] >> 3 & 15), f32::from(block[0] & 7) / 8.0);
            let value = if exponent == 0 { mantissa * 2f32.powi(-6) } else { (1.0 + mantissa) * 2f32.powi(exponent - 7) };
            if sign == 1 { -value } else { value }
        }
        WeightFormat::F8E5M2 => f16::from_bits(u16::from(block[0]) << 8).to_f32(),
        WeightFormat::Q8_0 => f32::from(block[2 + at] as i8) * half(0),
        WeightFormat::Q4_0 => {
            let code = if at < 16 { block[2 + at] & 15 } else { block[2 + at - 16] >> 4 };
            (f32::from(code) - 8.0) * half(0)
        }
        WeightFormat::Q4_K => {
            let (part, codes, packed) = (at / 32, &block[16..], &block[4..16]);
            let code = codes[part / 2 * 32 + at % 32] >> (part % 2 * 4) & 15;
            let (scale, minimum) = if part < 4 {
                (packed[part] & 63, packed[part + 4] & 63)
            } else {
                (packed[part + 4] & 15 | packed[part - 4] >> 6 << 4, packed[part + 4] >> 4 | packed[part] >> 6 << 4)
            };
            half(0) * f32::from(scale) * f32::from(code) - half(2) * f32::from(minimum)
        }
        other => panic!("{other:?} has no definition here"),
    }
}

/// `input · weightᵀ` in f64.
pub(crate) fn product(input: &[f32], weight: &[f32], [rows, outputs, inputs]: [usize; 3]) -> Vec<f64> {
    let dot = |i: usize, j: usize| -> f64 {
        (0..inputs).map(|k| f64::from(input[i * inputs + k]) * f64::from(weight[j * inputs + k])).sum()
    };
    (0..rows * outputs).map(|at| dot(at / outputs, at % outputs)).collect()
}

/// Rows of f32 in blocks, as another format would hand them out.
pub(crate) struct Blocks<'a> {
    pub(crate) numbers: &'a [f32],
    pub(crate) row_len: usize,
    pub(crate) block_len: usize,
}

impl WidenRows for Blocks<'_> {
    fn block_len(&self) -> usize {
        self.block_len
    }
    fn widen(&self, row: usize, first: usize, out: &mut [f32]) {
        assert!(first.is_multiple_of(self.block_len) && out.len().is_multiple_of(self.block_len));
        out.copy_from_slice(&self.numbers[row * self.row_len + first..][..out.len()]);
    }
}
