//! Vectors of 16 lanes.

#[allow(clippy::wildcard_imports, reason = "nearly everything there has a prefix of its own")]
use std::arch::x86_64::*;

use super::Simd;

/// AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The processor must have AVX-512 F, BW, DQ and VL, AVX2, FMA and F16C.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

const LANES: usize = 16;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn enabled<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Lanes below `n`.
#[inline(always)]
fn mask(n: usize) -> u16 {
    if n >= LANES { u16::MAX } else { (1 << n) - 1 }
}

/// Wrap instructions that an `Avx512` proves to be there.
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: `self` is proof that the processor has the instructions; memory is reached through slices of the length read.
        unsafe { $body }
    };
}

/// The 16 bytes at the start, as they are.
#[inline(always)]
fn bytes_16(_: Avx512, bytes: &[u8]) -> __m128i {
    let bytes = &bytes[..16];
    intrinsics!(_mm_loadu_si128(bytes.as_ptr().cast()))
}

#[inline(always)]
fn bytes_32(_: Avx512, bytes: &[u8]) -> __m256i {
    let bytes = &bytes[..32];
    intrinsics!(_mm256_loadu_si256(bytes.as_ptr().cast()))
}

impl Simd for Avx512 {
    type V = __m512;
    type Block = [__m512; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        intrinsics!(enabled(body))
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        intrinsics!(_mm512_set1_ps(value))
    }
    #[inline(always)]
    fn splat_f16(self, bytes: [u8; 2]) -> __m512 {
        intrinsics!(_mm512_cvtph_ps(_mm256_set1_epi16(i16::from_le_bytes(bytes))))
    }
    #[inline(always)]
    fn load(self, values: &[f32]) -> __m512 {
        let values = &values[..LANES];
        intrinsics!(_mm512_loadu_ps(values.as_ptr()))
    }
    #[inline(always)]
    fn load_part(self, values: &[f32]) -> __m512 {
        // An empty slice may lie anywhere: masked lanes are not touched, but an address without memory takes the processor long.
        if values.is_empty() {
            return self.zero();
        }
        intrinsics!(_mm512_maskz_loadu_ps(mask(values.len()), values.as_ptr()))
    }
    #[inline(always)]
    fn store(self, vector: __m512, out: &mut [f32]) {
        let out = &mut out[..LANES];
        intrinsics!(_mm512_storeu_ps(out.as_mut_ptr(), vector));
    }
    #[inline(always)]
    fn store_part(self, vector: __m512, out: &mut [f32]) {
        // As for `load_part`.
        if out.is_empty() {
            return;
        }
        intrinsics!(_mm512_mask_storeu_ps(out.as_mut_ptr(), mask(out.len()), vector));
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        intrinsics!(_mm512_abs_ps(a))
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        intrinsics!(_mm512_roundscale_ps::<0>(a))
    }
    #[inline(always)]
    fn scale(self, a: __m512, power: __m512) -> __m512 {
        intrinsics!(_mm512_scalef_ps(a, power))
    }
    #[inline(always)]
    fn select_negative(self, sign: __m512, negative: __m512, other: __m512) -> __m512 {
        intrinsics!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(sign, _mm512_setzero_ps()), other, negative))
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        intrinsics!(_mm512_reduce_add_ps(a))
    }
    #[inline(always)]
    fn highest(self, a: __m512) -> f32 {
        intrinsics!(_mm512_reduce_max_ps(a))
    }
    #[inline(always)]
    fn swap_pairs(self, a: __m512) -> __m512 {
        intrinsics!(_mm512_permute_ps::<0xb1>(a))
    }
    #[inline(always)]
    fn interleave(self, a: __m512, b: __m512) -> [__m512; 2] {
        intrinsics!({
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
        })
    }
    #[inline(always)]
    fn round_bf16(self, a: __m512) -> __m512 {
        intrinsics!({
            let bits = _mm512_castps_si512(a);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let not_a_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let chosen = _mm512_mask_blend_epi32(not_a_number, rounded, quiet);
            _mm512_castsi512_ps(_mm512_and_si512(chosen, _mm512_set1_epi32(!0xffff)))
        })
    }
    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        // It never fails, whatever the address.
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }
    #[inline(always)]
    fn zero_block(self) -> [__m512; LANES] {
        [self.zero(); LANES]
    }
    #[inline(always)]
    fn transpose(self, block: [__m512; LANES]) -> [__m512; LANES] {
        transpose_16(self, block)
    }
    #[inline(always)]
    fn from_bf16(self, bytes: &[u8]) -> __m512 {
        let bits = bytes_32(self, bytes);
        intrinsics!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))))
    }
    #[inline(always)]
    fn from_f16(self, bytes: &[u8]) -> __m512 {
        let bits = bytes_32(self, bytes);
        intrinsics!(_mm512_cvtph_ps(bits))
    }
    #[inline(always)]
    fn from_f32(self, bytes: &[u8]) -> __m512 {
        let bytes = &bytes[..4 * LANES];
        intrinsics!(_mm512_castsi512_ps(_mm512_loadu_si512(bytes.as_ptr().cast())))
    }
    #[inline(always)]
    fn from_i8(self, bytes: &[u8]) -> __m512 {
        let codes = bytes_16(self, bytes);
        intrinsics!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)))
    }
    #[inline(always)]
    fn from_low_nibbles(self, bytes: &[u8], offset: i32) -> __m512 {
        let codes = bytes_16(self, bytes);
        intrinsics!({
            let codes = _mm512_cvtepu8_epi32(_mm_and_si128(codes, _mm_set1_epi8(15)));
            _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(offset)))
        })
    }
    #[inline(always)]
    fn from_high_nibbles(self, bytes: &[u8], offset: i32) -> __m512 {
        let codes = bytes_16(self, bytes);
        intrinsics!({
            let codes = _mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16::<4>(codes), _mm_set1_epi8(15)));
            _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(offset)))
        })
    }
    #[inline(always)]
    fn from_e4m3(self, bytes: &[u8]) -> __m512 {
        let codes = bytes_16(self, bytes);
        intrinsics!({
            // As half precision they are 2^-8 as large; that instruction takes small numbers without delay.
            let codes = _mm256_cvtepu8_epi16(codes);
            let magnitude = _mm256_and_si256(codes, _mm256_set1_epi16(0x7f));
            let none = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
            let sign = _mm256_slli_epi16::<8>(_mm256_and_si256(codes, _mm256_set1_epi16(0x80)));
            let finite = _mm256_blendv_epi8(_mm256_slli_epi16::<7>(magnitude), _mm256_set1_epi16(0x7e00), none);
            _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(finite, sign)), _mm512_set1_ps(256.0))
        })
    }
    #[inline(always)]
    fn from_e5m2(self, bytes: &[u8]) -> __m512 {
        let codes = bytes_16(self, bytes);
        intrinsics!(_mm512_cvtph_ps(_mm256_slli_epi16::<8>(_mm256_cvtepu8_epi16(codes))))
    }
}

/// Transpose 16 x 16 lanes.
#[inline(always)]
fn transpose_16(_: Avx512, r: [__m512; 16]) -> [__m512; 16] {
    intrinsics!({
        let mut t = r;
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        // u[4 g + c], lane l of 128 bits: column 4 l + c of rows 4 g to 4 g + 3.
        let mut u = t;
        for g in [0, 4, 8, 12] {
            u[g] = _mm512_shuffle_ps::<0x44>(t[g], t[g + 2]);
            u[g + 1] = _mm512_shuffle_ps::<0xee>(t[g], t[g + 2]);
            u[g + 2] = _mm512_shuffle_ps::<0x44>(t[g + 1], t[g + 3]);
            u[g + 3] = _mm512_shuffle_ps::<0xee>(t[g + 1], t[g + 3]);
        }
        let mut out = r;
        for c in 0..4 {
            let even = _mm512_shuffle_f32x4::<0x88>(u[c], u[4 + c]);
            let odd = _mm512_shuffle_f32x4::<0xdd>(u[c], u[4 + c]);
            let even2 = _mm512_shuffle_f32x4::<0x88>(u[8 + c], u[12 + c]);
            let odd2 = _mm512_shuffle_f32x4::<0xdd>(u[8 + c], u[12 + c]);
            out[c] = _mm512_shuffle_f32x4::<0x88>(even, even2);
            out[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd, odd2);
            out[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even, even2);
            out[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd, odd2);
        }
        out
    })
}
