//! Vectors of 8 lanes, each in two registers.

#[allow(clippy::wildcard_imports, reason = "nearly everything there has a prefix of its own")]
use std::arch::aarch64::*;

use super::Simd;

/// NEON. From plain Rust the compiler makes it too, but guesses which sums share a register: for tiles of products it guessed
/// wrong, and kept some of them in memory.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// The processor must have NEON.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

const LANES: usize = 8;
type V = [float32x4_t; 2];

#[target_feature(enable = "neon")]
fn enabled<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Wrap instructions that a `Neon` proves to be there.
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: `self` is proof that the processor has the instructions; memory is reached through slices of the length read.
        unsafe { $body }
    };
}

/// An instruction for each half of its operands.
macro_rules! halves {
    ($instruction:ident($($operand:expr),+)) => {
        intrinsics!([$instruction($($operand[0]),+), $instruction($($operand[1]),+)])
    };
}

#[inline(always)]
fn bytes_8(_: Neon, bytes: &[u8]) -> uint8x8_t {
    let bytes = &bytes[..8];
    intrinsics!(vld1_u8(bytes.as_ptr()))
}

/// The 16 bytes at the start, as 16-bit whole numbers.
#[inline(always)]
fn words_8(_: Neon, bytes: &[u8]) -> uint16x8_t {
    let bytes = &bytes[..16];
    intrinsics!(vreinterpretq_u16_u8(vld1q_u8(bytes.as_ptr())))
}

#[inline(always)]
fn numbers_of_halves(_: Neon, bits: uint16x8_t) -> V {
    intrinsics!({
        let halves = vreinterpretq_f16_u16(bits);
        [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
    })
}

#[inline(always)]
fn numbers_of_integers(_: Neon, integers: int16x8_t) -> V {
    intrinsics!([vcvtq_f32_s32(vmovl_s16(vget_low_s16(integers))), vcvtq_f32_s32(vmovl_high_s16(integers))])
}

/// `code - offset` of four bits each.
#[inline(always)]
fn numbers_of_nibbles(s: Neon, codes: uint8x8_t, offset: i32) -> V {
    let integers = intrinsics!(vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(codes)), vdupq_n_s16(offset as i16)));
    numbers_of_integers(s, integers)
}

impl Simd for Neon {
    type V = V;
    type Block = [V; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        intrinsics!(enabled(body))
    }
    #[inline(always)]
    fn splat(self, value: f32) -> V {
        intrinsics!([vdupq_n_f32(value); 2])
    }
    #[inline(always)]
    fn splat_f16(self, bytes: [u8; 2]) -> V {
        numbers_of_halves(self, intrinsics!(vdupq_n_u16(u16::from_le_bytes(bytes))))
    }
    #[inline(always)]
    fn load(self, values: &[f32]) -> V {
        let values = &values[..LANES];
        intrinsics!([vld1q_f32(values.as_ptr()), vld1q_f32(values[4..].as_ptr())])
    }
    #[inline(always)]
    fn load_part(self, values: &[f32]) -> V {
        let mut lanes = [0.0; LANES];
        let len = values.len().min(LANES);
        lanes[..len].copy_from_slice(&values[..len]);
        self.load(&lanes)
    }
    #[inline(always)]
    fn store(self, vector: V, out: &mut [f32]) {
        let (low, high) = out[..LANES].split_at_mut(4);
        intrinsics!({
            vst1q_f32(low.as_mut_ptr(), vector[0]);
            vst1q_f32(high.as_mut_ptr(), vector[1]);
        });
    }
    #[inline(always)]
    fn store_part(self, vector: V, out: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(vector, &mut lanes);
        let len = out.len().min(LANES);
        out[..len].copy_from_slice(&lanes[..len]);
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        halves!(vaddq_f32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        halves!(vsubq_f32(a, b))
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        halves!(vmulq_f32(a, b))
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        halves!(vdivq_f32(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        halves!(vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        // The instruction for it gives no number where either operand is none.
        let larger = halves!(vcgtq_f32(a, b));
        halves!(vbslq_f32(larger, a, b))
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        let smaller = halves!(vcltq_f32(a, b));
        halves!(vbslq_f32(smaller, a, b))
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        halves!(vabsq_f32(a))
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        halves!(vrndnq_f32(a))
    }
    #[inline(always)]
    fn scale(self, a: V, power: V) -> V {
        let half = |a, power| {
            intrinsics!({
                // In two steps, since 2^power alone may not be a number where the result is.
                let whole = vcvtq_s32_f32(power);
                let half = vshrq_n_s32::<1>(whole);
                let power_of_two = |power| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(power, vdupq_n_s32(127))));
                vmulq_f32(vmulq_f32(a, power_of_two(half)), power_of_two(vsubq_s32(whole, half)))
            })
        };
        [half(a[0], power[0]), half(a[1], power[1])]
    }
    #[inline(always)]
    fn select_negative(self, sign: V, negative: V, other: V) -> V {
        let below = halves!(vcltzq_f32(sign));
        halves!(vbslq_f32(below, negative, other))
    }
    #[inline(always)]
    fn sum(self, a: V) -> f32 {
        intrinsics!({
            let half = vaddq_f32(a[0], a[1]);
            vpadds_f32(vadd_f32(vget_low_f32(half), vget_high_f32(half)))
        })
    }
    #[inline(always)]
    fn highest(self, a: V) -> f32 {
        intrinsics!(vmaxnmvq_f32(vmaxnmq_f32(a[0], a[1])))
    }
    #[inline(always)]
    fn swap_pairs(self, a: V) -> V {
        halves!(vrev64q_f32(a))
    }
    #[inline(always)]
    fn interleave(self, a: V, b: V) -> [V; 2] {
        let (even, odd) = (halves!(vzip1q_f32(a, b)), halves!(vzip2q_f32(a, b)));
        [[even[0], odd[0]], [even[1], odd[1]]]
    }
    #[inline(always)]
    fn round_bf16(self, a: V) -> V {
        let half = |a| {
            intrinsics!({
                let bits = vreinterpretq_u32_f32(a);
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
                let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
                let chosen = vbslq_u32(vceqq_f32(a, a), rounded, quiet);
                vreinterpretq_f32_u32(vandq_u32(chosen, vdupq_n_u32(!0xffff)))
            })
        };
        [half(a[0]), half(a[1])]
    }
    #[inline(always)]
    fn prefetch(self, _: *const u8) {
        // The standard library has no stable instruction for it.
    }
    #[inline(always)]
    fn zero_block(self) -> [V; LANES] {
        [self.zero(); LANES]
    }
    #[inline(always)]
    fn transpose(self, r: [V; LANES]) -> [V; LANES] {
        let mut out = r;
        // Four by four numbers at a time: half `h` of rows 4 g to 4 g + 3 becomes half `g` of rows 4 h to 4 h + 3.
        for g in 0..2 {
            for h in 0..2 {
                intrinsics!({
                    let row = |i: usize| r[4 * g + i][h];
                    let (low_even, low_odd) = (vzip1q_f32(row(0), row(2)), vzip1q_f32(row(1), row(3)));
                    let (high_even, high_odd) = (vzip2q_f32(row(0), row(2)), vzip2q_f32(row(1), row(3)));
                    out[4 * h][g] = vzip1q_f32(low_even, low_odd);
                    out[4 * h + 1][g] = vzip2q_f32(low_even, low_odd);
                    out[4 * h + 2][g] = vzip1q_f32(high_even, high_odd);
                    out[4 * h + 3][g] = vzip2q_f32(high_even, high_odd);
                });
            }
        }
        out
    }
    #[inline(always)]
    fn from_bf16(self, bytes: &[u8]) -> V {
        let bits = words_8(self, bytes);
        let wide = intrinsics!([vshll_n_u16::<16>(vget_low_u16(bits)), vshll_high_n_u16::<16>(bits)]);
        halves!(vreinterpretq_f32_u32(wide))
    }
    #[inline(always)]
    fn from_f16(self, bytes: &[u8]) -> V {
        numbers_of_halves(self, words_8(self, bytes))
    }
    #[inline(always)]
    fn from_f32(self, bytes: &[u8]) -> V {
        let bytes = &bytes[..4 * LANES];
        let words = intrinsics!([vld1q_u8(bytes.as_ptr()), vld1q_u8(bytes[16..].as_ptr())]);
        halves!(vreinterpretq_f32_u8(words))
    }
    #[inline(always)]
    fn from_i8(self, bytes: &[u8]) -> V {
        let codes = bytes_8(self, bytes);
        numbers_of_integers(self, intrinsics!(vmovl_s8(vreinterpret_s8_u8(codes))))
    }
    #[inline(always)]
    fn from_low_nibbles(self, bytes: &[u8], offset: i32) -> V {
        let codes = bytes_8(self, bytes);
        numbers_of_nibbles(self, intrinsics!(vand_u8(codes, vdup_n_u8(15))), offset)
    }
    #[inline(always)]
    fn from_high_nibbles(self, bytes: &[u8], offset: i32) -> V {
        let codes = bytes_8(self, bytes);
        numbers_of_nibbles(self, intrinsics!(vshr_n_u8::<4>(codes)), offset)
    }
    #[inline(always)]
    fn from_e4m3(self, bytes: &[u8]) -> V {
        let codes = bytes_8(self, bytes);
        let bits = intrinsics!({
            let codes = vmovl_u8(codes);
            let magnitude = vandq_u16(codes, vdupq_n_u16(0x7f));
            let none = vceqq_u16(magnitude, vdupq_n_u16(0x7f));
            let sign = vshlq_n_u16::<8>(vandq_u16(codes, vdupq_n_u16(0x80)));
            vorrq_u16(vbslq_u16(none, vdupq_n_u16(0x7e00), vshlq_n_u16::<7>(magnitude)), sign)
        });
        // As half precision they are 2^-8 as large.
        self.mul(numbers_of_halves(self, bits), self.splat(256.0))
    }
    #[inline(always)]
    fn from_e5m2(self, bytes: &[u8]) -> V {
        let codes = bytes_8(self, bytes);
        numbers_of_halves(self, intrinsics!(vshll_n_u8::<8>(codes)))
    }
}
