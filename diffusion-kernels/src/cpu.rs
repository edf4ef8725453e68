//! Which instructions the processor has.

use crate::simd::Generic;
#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
#[cfg(target_arch = "x86_64")]
use crate::tile::Pairs;

/// Sets of instructions that kernels are compiled for, each above the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Instructions {
    /// Plain Rust, as the compiler vectorises it for the target.
    Generic,
    /// NEON of 64-bit Arm: 8 lanes in two registers.
    Neon,
    /// AVX2, FMA and F16C: 8 lanes.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL): 16 lanes.
    Avx512,
    /// AVX-512 with products of bf16 pairs: products in bf16 at twice the rate.
    Avx512Bf16,
}

impl Instructions {
    /// All of them, from the lowest.
    pub const ALL: [Self; 5] = [Self::Generic, Self::Neon, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// Whether this processor has them.
    pub fn are_available(self) -> bool {
        match self {
            Self::Generic => true,
            // Bytes of weights are little-endian, and are read as they lie.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => cfg!(target_endian = "little") && std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.are_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.are_available() && is_x86_feature_detected!("avx512bf16"),
            _ => false,
        }
    }
}

/// The instructions that a kernel is to use: proof that the processor has them.
///
/// ```
/// use diffusion_kernels::{Cpu, Instructions};
///
/// let best = Cpu::detect();
/// assert!(best.instructions().are_available());
/// assert_eq!(best.at_most(Instructions::Generic).instructions(), Instructions::Generic);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    instructions: Instructions,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::detect()
    }
}

impl Cpu {
    /// The best that this processor has. Costs some loads: what the processor has is asked once.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self { instructions: Instructions::Generic })
    }

    /// Every set of instructions that this processor has, from the lowest.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        let has = Instructions::ALL.into_iter().filter(|instructions| instructions.are_available());
        has.map(|instructions| Self { instructions })
    }

    /// This, or the best below that is no higher than `limit`.
    pub fn at_most(self, limit: Instructions) -> Self {
        Self::available().rev().find(|cpu| cpu.instructions <= limit.min(self.instructions)).unwrap_or(self)
    }

    /// What is used.
    pub fn instructions(self) -> Instructions {
        self.instructions
    }

    /// The vectors of these instructions.
    pub(crate) fn vectors(self) -> Vectors {
        match self.instructions {
            // SAFETY: a `Cpu` holds instructions only where `are_available` found them.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => Vectors::Neon(unsafe { Neon::new() }),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => Vectors::Avx2(unsafe { Avx2::new() }),
            // SAFETY: as above; AVX-512 with bf16 is more than without.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512Bf16 => Vectors::Avx512(unsafe { Avx512::new() }),
            _ => Vectors::Generic(Generic),
        }
    }

    /// The instructions for pairs of bf16, if there are.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn pairs(self) -> Option<Pairs> {
        // SAFETY: a `Cpu` holds instructions only where `are_available` found them.
        (self.instructions == Instructions::Avx512Bf16).then(|| unsafe { Pairs::new() })
    }
}

/// A set of vectors that the processor has.
#[derive(Clone, Copy)]
pub(crate) enum Vectors {
    Generic(Generic),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// `$body` with `$simd`, the vectors of a [`Cpu`]: compiled once for each set.
macro_rules! with_vectors {
    ($cpu:expr, $simd:ident => $body:expr) => {
        match $cpu.vectors() {
            $crate::cpu::Vectors::Generic($simd) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::cpu::Vectors::Neon($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::Vectors::Avx2($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::Vectors::Avx512($simd) => $body,
        }
    };
}
pub(crate) use with_vectors;
