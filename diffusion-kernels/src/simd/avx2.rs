//! Vectors of 8 lanes.

#[allow(clippy::wildcard_imports, reason = "nearly everything there has a prefix of its own")]
use std::arch::x86_64::*;

use super::Simd;

/// AVX2, with FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor must have AVX2, FMA and F16C.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

const LANES: usize = 8;

#[target_feature(enable = "avx2,fma,f16c")]
fn enabled<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Wrap instructions that an `Avx2` proves to be there.
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: `self` is proof that the processor has the instructions; memory is reached through slices of the length read.
        unsafe { $body }
    };
}

/// The 8 bytes at the start, as 32-bit whole numbers.
#[inline(always)]
fn bytes_8(_: Avx2, bytes: &[u8]) -> __m256i {
    let bytes = &bytes[..8];
    intrinsics!(_mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast())))
}

/// The 8 bytes at the start, as 16-bit whole numbers.
#[inline(always)]
fn bytes_8_wide(_: Avx2, bytes: &[u8]) -> __m128i {
    let bytes = &bytes[..8];
    intrinsics!(_mm_cvtepu8_epi16(_mm_loadl_epi64(bytes.as_ptr().cast())))
}

#[inline(always)]
fn bytes_16(_: Avx2, bytes: &[u8]) -> __m128i {
    let bytes = &bytes[..16];
    intrinsics!(_mm_loadu_si128(bytes.as_ptr().cast()))
}

impl Simd for Avx2 {
    type V = __m256;
    type Block = [__m256; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        intrinsics!(enabled(body))
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        intrinsics!(_mm256_set1_ps(value))
    }
    #[inline(always)]
    fn splat_f16(self, bytes: [u8; 2]) -> __m256 {
        intrinsics!(_mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes(bytes))))
    }
    #[inline(always)]
    fn load(self, values: &[f32]) -> __m256 {
        let values = &values[..LANES];
        intrinsics!(_mm256_loadu_ps(values.as_ptr()))
    }
    #[inline(always)]
    fn load_part(self, values: &[f32]) -> __m256 {
        let mut lanes = [0.0; LANES];
        let len = values.len().min(LANES);
        lanes[..len].copy_from_slice(&values[..len]);
        self.load(&lanes)
    }
    #[inline(always)]
    fn store(self, vector: __m256, out: &mut [f32]) {
        let out = &mut out[..LANES];
        intrinsics!(_mm256_storeu_ps(out.as_mut_ptr(), vector));
    }
    #[inline(always)]
    fn store_part(self, vector: __m256, out: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(vector, &mut lanes);
        let len = out.len().min(LANES);
        out[..len].copy_from_slice(&lanes[..len]);
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        intrinsics!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        intrinsics!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        intrinsics!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        intrinsics!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        intrinsics!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        intrinsics!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        intrinsics!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        intrinsics!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a))
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        intrinsics!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }
    #[inline(always)]
    fn scale(self, a: __m256, power: __m256) -> __m256 {
        intrinsics!({
            // In two steps, since 2^power alone may not be a number where the result is.
            let whole = _mm256_cvtps_epi32(power);
            let half = _mm256_srai_epi32::<1>(whole);
            let power_of_two =
                |power| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(power, _mm256_set1_epi32(127))));
            let first = _mm256_mul_ps(a, power_of_two(half));
            _mm256_mul_ps(first, power_of_two(_mm256_sub_epi32(whole, half)))
        })
    }
    #[inline(always)]
    fn select_negative(self, sign: __m256, negative: __m256, other: __m256) -> __m256 {
        intrinsics!(_mm256_blendv_ps(other, negative, _mm256_cmp_ps::<_CMP_LT_OQ>(sign, _mm256_setzero_ps())))
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        intrinsics!({
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        })
    }
    #[inline(always)]
    fn highest(self, a: __m256) -> f32 {
        intrinsics!({
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        })
    }
    #[inline(always)]
    fn swap_pairs(self, a: __m256) -> __m256 {
        intrinsics!(_mm256_permute_ps::<0xb1>(a))
    }
    #[inline(always)]
    fn interleave(self, a: __m256, b: __m256) -> [__m256; 2] {
        intrinsics!({
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        })
    }
    #[inline(always)]
    fn round_bf16(self, a: __m256) -> __m256 {
        intrinsics!({
            let bits = _mm256_castps_si256(a);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let not_a_number = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            let chosen = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), not_a_number);
            _mm256_and_ps(chosen, _mm256_castsi256_ps(_mm256_set1_epi32(!0xffff)))
        })
    }
    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        // It never fails, whatever the address.
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }
    #[inline(always)]
    fn zero_block(self) -> [__m256; LANES] {
        [self.zero(); LANES]
    }
    #[inline(always)]
    fn transpose(self, r: [__m256; LANES]) -> [__m256; LANES] {
        intrinsics!({
            let mut t = r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            // u[4 g + c], lane l of 128 bits: column 4 l + c of rows 4 g to 4 g + 3.
            let mut u = r;
            for g in [0, 4] {
                u[g] = _mm256_shuffle_ps::<0x44>(t[g], t[g + 2]);
                u[g + 1] = _mm256_shuffle_ps::<0xee>(t[g], t[g + 2]);
                u[g + 2] = _mm256_shuffle_ps::<0x44>(t[g + 1], t[g + 3]);
                u[g + 3] = _mm256_shuffle_ps::<0xee>(t[g + 1], t[g + 3]);
            }
            let mut out = r;
            for c in 0..4 {
                out[c] = _mm256_permute2f128_ps::<0x20>(u[c], u[4 + c]);
                out[4 + c] = _mm256_permute2f128_ps::<0x31>(u[c], u[4 + c]);
            }
            out
        })
    }
    #[inline(always)]
    fn from_bf16(self, bytes: &[u8]) -> __m256 {
        let bits = bytes_16(self, bytes);
        intrinsics!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits))))
    }
    #[inline(always)]
    fn from_f16(self, bytes: &[u8]) -> __m256 {
        let bits = bytes_16(self, bytes);
        intrinsics!(_mm256_cvtph_ps(bits))
    }
    #[inline(always)]
    fn from_f32(self, bytes: &[u8]) -> __m256 {
        let bytes = &bytes[..4 * LANES];
        intrinsics!(_mm256_castsi256_ps(_mm256_loadu_si256(bytes.as_ptr().cast())))
    }
    #[inline(always)]
    fn from_i8(self, bytes: &[u8]) -> __m256 {
        let bytes = &bytes[..8];
        intrinsics!(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast()))))
    }
    #[inline(always)]
    fn from_low_nibbles(self, bytes: &[u8], offset: i32) -> __m256 {
        let codes = bytes_8(self, bytes);
        intrinsics!({
            let codes = _mm256_and_si256(codes, _mm256_set1_epi32(15));
            _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(offset)))
        })
    }
    #[inline(always)]
    fn from_high_nibbles(self, bytes: &[u8], offset: i32) -> __m256 {
        let codes = bytes_8(self, bytes);
        intrinsics!(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32::<4>(codes), _mm256_set1_epi32(offset))))
    }
    #[inline(always)]
    fn from_e4m3(self, bytes: &[u8]) -> __m256 {
        let codes = bytes_8_wide(self, bytes);
        intrinsics!({
            // As half precision they are 2^-8 as large; that instruction takes small numbers without delay.
            let magnitude = _mm_and_si128(codes, _mm_set1_epi16(0x7f));
            let none = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f));
            let sign = _mm_slli_epi16::<8>(_mm_and_si128(codes, _mm_set1_epi16(0x80)));
            let finite = _mm_blendv_epi8(_mm_slli_epi16::<7>(magnitude), _mm_set1_epi16(0x7e00), none);
            _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(finite, sign)), _mm256_set1_ps(256.0))
        })
    }
    #[inline(always)]
    fn from_e5m2(self, bytes: &[u8]) -> __m256 {
        let codes = bytes_8_wide(self, bytes);
        intrinsics!(_mm256_cvtph_ps(_mm_slli_epi16::<8>(codes)))
    }
}
