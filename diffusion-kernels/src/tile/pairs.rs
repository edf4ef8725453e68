//! Products of pairs of bf16.

#[allow(clippy::wildcard_imports, reason = "nearly everything there has a prefix of its own")]
use std::arch::x86_64::*;

use super::Arith;
use crate::WeightFormat;
use crate::simd::{Avx512, Simd};

/// Operands rounded to bf16, two to a unit, sums in f32: twice the rate of f32. Subnormal numbers count as zero.
#[derive(Clone, Copy)]
pub(crate) struct Pairs(Avx512);

impl Pairs {
    /// # Safety
    /// The processor must have what [`Avx512::new`] asks for, and AVX512-BF16.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: the caller's.
        Self(unsafe { Avx512::new() })
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn enabled<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Wrap instructions that a `Pairs` proves to be there.
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: `self` is proof that the processor has the instructions; what is transmuted is 512 bits of any value.
        unsafe { $body }
    };
}

/// Puts the bf16 of lane l of the halves `[low 16 | high 16]` side by side.
const INTERLEAVE: [u16; 32] = {
    let mut index = [0; 32];
    let mut i = 0;
    while i < 32 {
        index[i] = (i / 2 + 16 * (i % 2)) as u16;
        i += 1;
    }
    index
};

impl Arith for Pairs {
    type S = Avx512;
    const PER_UNIT: usize = 2;
    const STORED: Option<WeightFormat> = Some(WeightFormat::Bf16);

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        intrinsics!(enabled(body))
    }
    #[inline(always)]
    fn dot(self, sum: __m512, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_dpbf16_ps(sum, std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b)))
    }
    #[inline(always)]
    fn units(self, first: __m512, second: impl FnOnce() -> __m512) -> __m512 {
        let second = second();
        intrinsics!(std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(second, first)))
    }
    #[inline(always)]
    fn units_of_bf16(self, bytes: &[u8]) -> __m512 {
        self.0.from_f32(bytes)
    }
    #[inline(always)]
    fn stack(self, upper: __m512, lower: impl FnOnce() -> __m512) -> __m512 {
        let halves = self.units(upper, lower);
        intrinsics!({
            let index = std::mem::transmute::<[u16; 32], __m512i>(INTERLEAVE);
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(index, _mm512_castps_si512(halves)))
        })
    }
}
