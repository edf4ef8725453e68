//! How the numbers of a tensor are stored in a file, and how they become f32.

use std::fmt::{self, Display};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The number format of a stored tensor.
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
    /// Any other type; checkpoints hold some (`position_ids`), weights are never stored so.
    Other(safetensors::Dtype),
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

    /// Widen `bytes`, a whole number of elements, into `out`.
    ///
    /// # Panics
    /// If the lengths do not fit together, or the format is no float.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F64 => {
                let (values, _) = bytes.as_chunks();
                assert_eq!(values.len(), out.len(), "F64 bytes and elements");
                for (to, from) in out.iter_mut().zip(values) {
                    *to = f64::from_le_bytes(*from) as f32;
                }
            }
            Self::F32 => {
                let (values, _) = bytes.as_chunks();
                assert_eq!(values.len(), out.len(), "F32 bytes and elements");
                for (to, from) in out.iter_mut().zip(values) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            Self::F16 => widen_f16(bytes, out),
            Self::BF16 => {
                let (values, _) = bytes.as_chunks();
                assert_eq!(values.len(), out.len(), "BF16 bytes and elements");
                for (to, from) in out.iter_mut().zip(values) {
                    *to = bf16::from_le_bytes(*from).to_f32();
                }
            }
            Self::F8E4M3 => widen_fp8(bytes, out, &fp8_table(|bits| float8::F8E4M3::from_bits(bits).to_f32())),
            Self::F8E5M2 => widen_fp8(bytes, out, &fp8_table(|bits| float8::F8E5M2::from_bits(bits).to_f32())),
            Self::Other(dtype) => panic!("{dtype:?} is no float"),
        }
    }

    /// The f32 value of every code of an 8-bit format.
    ///
    /// # Panics
    /// If the format is wider than 8 bits.
    pub fn fp8_values(self) -> Vec<f32> {
        assert!(self.is_fp8(), "{self} is not an 8-bit float");
        let codes: Vec<u8> = (0..=255).collect();
        let mut values = vec![0.0; 256];
        self.widen(&codes, &mut values);
        values
    }
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

fn fp8_table(value: impl Fn(u8) -> f32) -> [f32; 256] {
    std::array::from_fn(|bits| value(bits as u8))
}

fn widen_fp8(bytes: &[u8], out: &mut [f32], table: &[f32; 256]) {
    assert_eq!(bytes.len(), out.len(), "fp8 bytes and elements");
    for (to, &from) in out.iter_mut().zip(bytes) {
        *to = table[usize::from(from)];
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
            known => write!(f, "{known:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
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
