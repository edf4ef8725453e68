//! Number formats of weights.

/// How the numbers of a [`Weight`](crate::Weight) are stored. Little-endian throughout.
///
/// Formats with an underscore are those of GGUF: blocks along the rows, so that rows are whole numbers of blocks.
/// Reference: ggml `src/ggml-common.h`, `src/ggml-quants.c` at d99724f.
#[expect(non_camel_case_types, reason = "the names that the formats have everywhere")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain float: the upper half of an f32.
    Bf16,
    /// 8-bit float with 4 exponent bits, no infinity (OCP `e4m3fn`).
    F8E4M3,
    /// 8-bit float with 5 exponent bits (OCP `e5m2`).
    F8E5M2,
    /// 8 bits, 32 numbers with one scale.
    Q8_0,
    /// 4 bits, 32 numbers with one scale.
    Q4_0,
    /// 4 bits, 32 numbers with a scale and a minimum of 6 bits, in blocks of 256.
    Q4_K,
}

impl WeightFormat {
    /// Numbers and bytes of a block; one number where they stand by themselves.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::F8E4M3 | Self::F8E5M2 => (1, 1),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_K => (256, 144),
        }
    }
}
