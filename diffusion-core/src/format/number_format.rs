//! The number format of a stored tensor.

use std::fmt::{self, Display};
use std::sync::LazyLock;

use float8::{F8E4M3, F8E5M2};
use half::f16;
use half::slice::HalfFloatSliceExt;
use multiversion::multiversion;
use rayon::prelude::*;

use super::blocks::{iq, k_quants, k_quants_encode, legacy};

/// The number format of a stored tensor.
///
/// The formats with an underscore in their printed names are those of GGUF: blocks along the last dimension, whose numbers
/// share scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain float: the upper half of an f32.
    BF16,
    /// 8-bit float with 4 exponent bits, no infinity (OCP `e4m3fn`).
    F8E4M3,
    /// 8-bit float with 5 exponent bits (OCP `e5m2`).
    F8E5M2,
    /// 4 bits, 32 numbers with one scale.
    Q4_0,
    /// 4 bits, 32 numbers with a scale and a minimum.
    Q4_1,
    /// 5 bits, 32 numbers with one scale.
    Q5_0,
    /// 5 bits, 32 numbers with a scale and a minimum.
    Q5_1,
    /// 8 bits, 32 numbers with one scale.
    Q8_0,
    /// 2 bits, 16 numbers with a scale and a minimum of 4 bits, in blocks of 256.
    Q2K,
    /// 3 bits, 16 numbers with a scale of 6 bits, in blocks of 256.
    Q3K,
    /// 4 bits, 32 numbers with a scale and a minimum of 6 bits, in blocks of 256.
    Q4K,
    /// 5 bits, 32 numbers with a scale and a minimum of 6 bits, in blocks of 256.
    Q5K,
    /// 6 bits, 16 numbers with a scale of 8 bits, in blocks of 256.
    Q6K,
    /// 4 bits for an entry of a fixed, uneven table, 32 numbers with one scale.
    IQ4NL,
    /// Any other type; checkpoints hold some (`position_ids`), weights are never stored so.
    Other(safetensors::Dtype),
}

/// The smallest piece of a format that can be decoded by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize {
    /// Numbers in it.
    pub elements: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

impl Format {
    /// Whether weights are stored in this format.
    pub fn is_float(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether this is an 8-bit float.
    pub fn is_fp8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
    }

    /// Whether Burn has no tensors of this format, so that matrices are kept as a packed weight.
    pub fn is_packed(self) -> bool {
        self.is_float() && !matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// Elements and bytes of one block; one element where numbers stand by themselves.
    pub fn block(self) -> BlockSize {
        let (elements, bytes) = match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::F8E4M3 | Self::F8E5M2 => (1, 1),
            Self::Q4_0 | Self::IQ4NL => (legacy::LEN, 18),
            Self::Q4_1 => (legacy::LEN, 20),
            Self::Q5_0 => (legacy::LEN, 22),
            Self::Q5_1 => (legacy::LEN, 24),
            Self::Q8_0 => (legacy::LEN, 34),
            Self::Q2K => (k_quants::LEN, 84),
            Self::Q3K => (k_quants::LEN, 110),
            Self::Q4K => (k_quants::LEN, 144),
            Self::Q5K => (k_quants::LEN, 176),
            Self::Q6K => (k_quants::LEN, 210),
            Self::Other(dtype) => {
                // Some are narrower than a byte.
                let bits = dtype.bitsize();
                let elements = if bits % 8 == 0 { 1 } else { 8 };
                (elements, elements * bits / 8)
            }
        };
        BlockSize { elements, bytes }
    }

    /// Bytes of `elements` elements; `None` if those are no whole number of blocks, or more than memory can address.
    pub fn num_bytes(self, elements: usize) -> Option<usize> {
        let block = self.block();
        elements.is_multiple_of(block.elements).then(|| (elements / block.elements).checked_mul(block.bytes))?
    }

    /// Widen `bytes`, a whole number of blocks, into `out`.
    ///
    /// # Panics
    /// If the lengths do not fit together, or the format is no float.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F64 => widen_each(bytes, out, |value| f64::from_le_bytes(value) as f32),
            Self::F32 => widen_each(bytes, out, f32::from_le_bytes),
            Self::F16 => widen_f16(bytes, out),
            Self::BF16 => widen_bf16(bytes, out),
            Self::F8E4M3 | Self::F8E5M2 => {
                let values = self.fp8_values();
                widen_each(bytes, out, |[code]| values[usize::from(code)]);
            }
            Self::Q4_0 => legacy::q4_0(bytes, out),
            Self::Q4_1 => legacy::q4_1(bytes, out),
            Self::Q5_0 => legacy::q5_0(bytes, out),
            Self::Q5_1 => legacy::q5_1(bytes, out),
            Self::Q8_0 => legacy::q8_0(bytes, out),
            Self::Q2K => k_quants::q2_k(bytes, out),
            Self::Q3K => k_quants::q3_k(bytes, out),
            Self::Q4K => k_quants::q4_k(bytes, out),
            Self::Q5K => k_quants::q5_k(bytes, out),
            Self::Q6K => k_quants::q6_k(bytes, out),
            Self::IQ4NL => iq::iq4_nl(bytes, out),
            Self::Other(dtype) => panic!("{dtype:?} is no float"),
        }
    }

    /// [`widen`](Self::widen) on all cores.
    ///
    /// # Panics
    /// As `widen` does.
    pub fn widen_parallel(self, bytes: &[u8], out: &mut [f32]) {
        let (elements, task_bytes) = self.task();
        assert_eq!(Some(bytes.len()), self.num_bytes(out.len()), "{self} bytes and elements");
        out.par_chunks_mut(elements).zip(bytes.par_chunks(task_bytes)).for_each(|(out, bytes)| self.widen(bytes, out));
    }

    /// Whether [`narrow`](Self::narrow) can write this format.
    pub fn can_narrow(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16 | Self::F8E4M3 | Self::Q4_0 | Self::Q8_0 | Self::Q4K)
    }

    /// Round `values`, a whole number of blocks, to this format. Uses all cores.
    ///
    /// Numbers beyond [`largest`](Self::largest) become infinite, or the largest of a format without infinity.
    ///
    /// # Panics
    /// If the lengths do not fit together, or [`can_narrow`](Self::can_narrow) does not hold.
    pub fn narrow(self, values: &[f32], out: &mut [u8]) {
        let (elements, task_bytes) = self.task();
        assert!(self.can_narrow(), "{self} is not written");
        assert_eq!(Some(out.len()), self.num_bytes(values.len()), "{self} bytes and elements");
        let tasks = values.par_chunks(elements).zip(out.par_chunks_mut(task_bytes));
        tasks.for_each(|(values, out)| match self {
            Self::F16 => narrow_each(values, out, |value| f16::from_f32(value).to_le_bytes()),
            Self::BF16 => narrow_bf16(values, out),
            Self::F8E4M3 => narrow_each(values, out, |value| [F8E4M3::from_f32(value).to_bits()]),
            Self::Q4_0 => legacy::encode_q4_0(values, out),
            Self::Q8_0 => legacy::encode_q8_0(values, out),
            Self::Q4K => k_quants_encode::encode_q4_k(values, out),
            _ => narrow_each(values, out, f32::to_le_bytes),
        });
    }

    /// The largest magnitude that [`narrow`](Self::narrow) can write in this format.
    pub fn largest(self) -> f32 {
        const HALF: f32 = 65504.0;
        match self {
            Self::F16 => HALF,
            Self::F8E4M3 => 448.0,
            Self::F8E5M2 => 57344.0,
            Self::Q4_0 => 8.0 * HALF,
            Self::Q8_0 => 127.0 * HALF,
            Self::Q4K => 63.0 * HALF,
            _ => f32::MAX,
        }
    }

    /// Elements and bytes that one task takes: enough to be worth a task, few enough for all cores to have some.
    fn task(self) -> (usize, usize) {
        const ELEMENTS: usize = 1 << 16;
        let block = self.block();
        (ELEMENTS, ELEMENTS / block.elements * block.bytes)
    }

    /// The f32 value of every code of an 8-bit format.
    ///
    /// # Panics
    /// If the format is wider than 8 bits.
    pub fn fp8_values(self) -> &'static [f32; 256] {
        match self {
            Self::F8E4M3 => &E4M3,
            Self::F8E5M2 => &E5M2,
            _ => panic!("{self} is not an 8-bit float"),
        }
    }
}

static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|code| F8E4M3::from_bits(code as u8).to_f32()));
static E5M2: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|code| F8E5M2::from_bits(code as u8).to_f32()));

#[expect(clippy::inline_always, reason = "it has the instructions of the function that it is inlined into")]
#[inline(always)]
fn widen_each<const BYTES: usize>(bytes: &[u8], out: &mut [f32], widen: impl Fn([u8; BYTES]) -> f32) {
    let (values, rest) = bytes.as_chunks();
    assert!(rest.is_empty() && values.len() == out.len(), "{} bytes for {} elements of {BYTES}", bytes.len(), out.len());
    for (to, from) in out.iter_mut().zip(values) {
        *to = widen(*from);
    }
}

#[expect(clippy::inline_always, reason = "it has the instructions of the function that it is inlined into")]
#[inline(always)]
fn narrow_each<const BYTES: usize>(values: &[f32], out: &mut [u8], narrow: impl Fn(f32) -> [u8; BYTES]) {
    for (to, from) in out.as_chunks_mut().0.iter_mut().zip(values) {
        *to = narrow(*from);
    }
}

/// Without branches, for as many numbers at a time as the processor has lanes.
#[multiversion(targets("x86_64+avx2"))]
fn widen_bf16(bytes: &[u8], out: &mut [f32]) {
    widen_each(bytes, out, |value| f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16));
}

/// To the nearest, ties to even, as the crate `half` rounds; without branches.
#[multiversion(targets("x86_64+avx2"))]
fn narrow_bf16(values: &[f32], out: &mut [u8]) {
    const QUIET: u32 = 0x40;
    narrow_each(values, out, |value| {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let not_a_number = bits >> 16 | QUIET;
        (if value.is_nan() { not_a_number } else { rounded } as u16).to_le_bytes()
    });
}

/// Half precision in chunks that stay in the cache: the conversion of a slice uses the processor's instructions.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    const CHUNK: usize = 256;
    let mut halves = [f16::ZERO; CHUNK];
    assert_eq!(bytes.len(), 2 * out.len(), "F16 bytes and elements");
    for (to, from) in out.chunks_mut(CHUNK).zip(bytes.chunks(2 * CHUNK)) {
        let (values, _) = from.as_chunks();
        for (half, value) in halves.iter_mut().zip(values) {
            *half = f16::from_le_bytes(*value);
        }
        halves[..to.len()].convert_to_f32_slice(to);
    }
}

impl From<safetensors::Dtype> for Format {
    fn from(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F64 => Self::F64,
            safetensors::Dtype::F32 => Self::F32,
            safetensors::Dtype::F16 => Self::F16,
            safetensors::Dtype::BF16 => Self::BF16,
            safetensors::Dtype::F8_E4M3 => Self::F8E4M3,
            safetensors::Dtype::F8_E5M2 => Self::F8E5M2,
            other => Self::Other(other),
        }
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(dtype) => write!(f, "{dtype:?}"),
            Self::Q2K => f.write_str("Q2_K"),
            Self::Q3K => f.write_str("Q3_K"),
            Self::Q4K => f.write_str("Q4_K"),
            Self::Q5K => f.write_str("Q5_K"),
            Self::Q6K => f.write_str("Q6_K"),
            Self::IQ4NL => f.write_str("IQ4_NL"),
            known => write!(f, "{known:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn half_precision_widens_in_every_chunk_position() {
        let values: Vec<f32> = (0..700u16).map(|i| f32::from(i) - 350.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let mut out = vec![0.0; 700];
        Format::F16.widen(&bytes, &mut out);
        assert_eq!(out, values);
        let bytes: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        Format::BF16.widen(&bytes, &mut out);
        assert_eq!(out[..256], values[..256].iter().map(|&v| bf16::from_f32(v).to_f32()).collect::<Vec<_>>());
    }

    #[test]
    fn brain_floats_are_rounded_to_nearest_even() {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
        let ties = (0..2000u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x2000 + (i % 5) * 0x7fff));
        let values: Vec<f32> = special.into_iter().chain(ties).collect();
        let mut bytes = vec![0; 2 * values.len()];
        Format::BF16.narrow(&values, &mut bytes);
        let expected: Vec<u8> = values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect();
        assert_eq!(bytes, expected);
    }

    /// Values from the OCP 8-bit floating point specification, revision 1.0, table 1.
    #[test]
    fn fp8_codes_have_their_specified_values() {
        let e4m3 = Format::F8E4M3.fp8_values();
        assert_eq!((e4m3[0x38], e4m3[0x7e], e4m3[0x01], e4m3[0xb8]), (1.0, 448.0, 2f32.powi(-9), -1.0));
        assert!(e4m3[0x7f].is_nan() && e4m3[0xff].is_nan());
        let e5m2 = Format::F8E5M2.fp8_values();
        assert_eq!((e5m2[0x3c], e5m2[0x7b], e5m2[0x01]), (1.0, 57344.0, 2f32.powi(-16)));
        assert!(e5m2[0x7c].is_infinite() && e5m2[0x7d].is_nan());
    }
}
