//! How a case is computed, and a case that is ready.

use clap::ValueEnum;
use diffusion_core::Precision;
use diffusion_core::format::Format;

/// What products round their operands to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Products {
    /// Nothing: 32-bit floats.
    F32,
    /// Brain floats; sums are f32.
    Bf16,
}

/// How a case is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What products round their operands to.
    pub products: Products,
    /// How its file has matrices.
    pub weights: Format,
}

/// A case that is ready.
pub struct Running {
    /// Computes it once, to the end.
    pub run: Box<dyn FnMut()>,
    /// Bytes that a run reads from memory at the least: weights, without tables of which it takes some rows.
    pub bytes: usize,
}

impl Products {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name on command lines and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The precision that networks are loaded with.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::f32(),
            Self::Bf16 => Precision::bf16_products(),
        }
    }
}
