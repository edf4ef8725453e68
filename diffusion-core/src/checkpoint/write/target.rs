//! What weights are converted to.

use std::fmt::{self, Display};

use crate::format::Format;

/// What weights are converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Every tensor in f32.
    F32,
    /// Every tensor in half precision.
    F16,
    /// Every tensor in bf16.
    BF16,
    /// Matrices in 8-bit floats, without a scale. Safetensors only.
    F8E4M3,
    /// Matrices in 8-bit floats, each with a scale, as `ComfyUI` writes them. Safetensors only.
    F8E4M3Scaled,
    /// Large matrices in `Q8_0`. GGUF only, as the two that follow.
    Q8_0,
    /// Large matrices in `Q4_0`.
    Q4_0,
    /// Large matrices in `Q4_K`.
    Q4K,
}

impl Target {
    pub(super) fn format(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::BF16 => Format::BF16,
            Self::F8E4M3 | Self::F8E4M3Scaled => Format::F8E4M3,
            Self::Q8_0 => Format::Q8_0,
            Self::Q4_0 => Format::Q4_0,
            Self::Q4K => Format::Q4K,
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F8E4M3Scaled => f.write_str("scaled F8E4M3"),
            plain => plain.format().fmt(f),
        }
    }
}
