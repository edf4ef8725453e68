//! Vectors in plain Rust.

use super::Simd;

/// 8 lanes of plain Rust: four vectors of 64 bits, two of 128 or one of 256, as the compiler finds them.
#[derive(Clone, Copy)]
pub(crate) struct Generic;

const LANES: usize = 8;
type V = [f32; LANES];

#[inline(always)]
fn lanes(value: impl FnMut(usize) -> f32) -> V {
    std::array::from_fn(value)
}

/// The first `LANES` pieces of `BYTES` bytes, as numbers.
#[inline(always)]
fn widen<const BYTES: usize>(bytes: &[u8], value: impl Fn([u8; BYTES]) -> f32) -> V {
    let (pieces, _) = bytes[..LANES * BYTES].as_chunks();
    lanes(|i| value(pieces[i]))
}

/// A half-precision number, without branches.
#[inline(always)]
fn half_to_f32(bits: u16) -> f32 {
    const TWO_TO_112: u32 = (112 + 127) << 23;
    const EXPONENT: u16 = 0x7c00;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * f32::from_bits(TWO_TO_112)).to_bits();
    let unsigned = if bits & EXPONENT == EXPONENT { magnitude | 0x7f80_0000 } else { finite };
    f32::from_bits(unsigned | u32::from(bits & 0x8000) << 16)
}

/// A number of 4 exponent bits, without branches.
#[inline(always)]
fn e4m3_to_f32(code: u8) -> f32 {
    const TWO_TO_120: u32 = (120 + 127) << 23;
    let magnitude = u32::from(code & 0x7f);
    let finite = (f32::from_bits(magnitude << 20) * f32::from_bits(TWO_TO_120)).to_bits();
    let unsigned = if magnitude == 0x7f { 0x7fc0_0000 } else { finite };
    f32::from_bits(unsigned | u32::from(code & 0x80) << 24)
}

/// `2^power` for whole powers from -126 to 127.
#[inline(always)]
fn power_of_two(power: i32) -> f32 {
    f32::from_bits(((power + 127) << 23) as u32)
}

impl Simd for Generic {
    type V = V;
    type Block = [V; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        body()
    }
    #[inline(always)]
    fn splat(self, value: f32) -> V {
        [value; LANES]
    }
    #[inline(always)]
    fn splat_f16(self, bytes: [u8; 2]) -> V {
        self.splat(half_to_f32(u16::from_le_bytes(bytes)))
    }
    #[inline(always)]
    fn load(self, values: &[f32]) -> V {
        let values = &values[..LANES];
        lanes(|i| values[i])
    }
    #[inline(always)]
    fn load_part(self, values: &[f32]) -> V {
        let mut vector = [0.0; LANES];
        let len = values.len().min(LANES);
        vector[..len].copy_from_slice(&values[..len]);
        vector
    }
    #[inline(always)]
    fn store(self, vector: V, out: &mut [f32]) {
        out[..LANES].copy_from_slice(&vector);
    }
    #[inline(always)]
    fn store_part(self, vector: V, out: &mut [f32]) {
        let len = out.len().min(LANES);
        out[..len].copy_from_slice(&vector[..len]);
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        lanes(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        // Where the target has no such instruction, `f32::mul_add` calls a function for every number.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            lanes(|i| a[i].mul_add(b[i], c[i]))
        } else {
            lanes(|i| a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        lanes(|i| a[i].abs())
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        // The last bit of so large a number is 1; a call of `round_ties_even` would be one for every number.
        const LARGE: f32 = 12_582_912.0;
        lanes(|i| (a[i] + LARGE) - LARGE)
    }
    #[inline(always)]
    fn scale(self, a: V, power: V) -> V {
        // In two steps, since 2^power alone may not be a number where the result is.
        lanes(|i| {
            let whole = power[i] as i32;
            a[i] * power_of_two(whole >> 1) * power_of_two(whole - (whole >> 1))
        })
    }
    #[inline(always)]
    fn select_negative(self, sign: V, negative: V, other: V) -> V {
        lanes(|i| if sign[i] < 0.0 { negative[i] } else { other[i] })
    }
    #[inline(always)]
    fn sum(self, a: V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn highest(self, a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn swap_pairs(self, a: V) -> V {
        lanes(|i| a[i ^ 1])
    }
    #[inline(always)]
    fn interleave(self, a: V, b: V) -> [V; 2] {
        let half = |first: usize| lanes(|i| if i % 2 == 0 { a[first + i / 2] } else { b[first + i / 2] });
        [half(0), half(LANES / 2)]
    }
    #[inline(always)]
    fn round_bf16(self, a: V) -> V {
        const QUIET: u32 = 0x0040_0000;
        lanes(|i| {
            let bits = a[i].to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
            let bits = if a[i].is_nan() { bits | QUIET } else { rounded };
            f32::from_bits(bits & 0xffff_0000)
        })
    }
    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
    #[inline(always)]
    fn zero_block(self) -> [V; LANES] {
        [[0.0; LANES]; LANES]
    }
    #[inline(always)]
    fn transpose(self, block: [V; LANES]) -> [V; LANES] {
        std::array::from_fn(|i| lanes(|j| block[j][i]))
    }
    #[inline(always)]
    fn from_bf16(self, bytes: &[u8]) -> V {
        widen(bytes, |value| f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16))
    }
    #[inline(always)]
    fn from_f16(self, bytes: &[u8]) -> V {
        widen(bytes, |value| half_to_f32(u16::from_le_bytes(value)))
    }
    #[inline(always)]
    fn from_f32(self, bytes: &[u8]) -> V {
        widen(bytes, f32::from_le_bytes)
    }
    #[inline(always)]
    fn from_i8(self, bytes: &[u8]) -> V {
        widen(bytes, |[code]| f32::from(code as i8))
    }
    #[inline(always)]
    fn from_low_nibbles(self, bytes: &[u8], offset: i32) -> V {
        widen(bytes, |[code]| (i32::from(code & 15) - offset) as f32)
    }
    #[inline(always)]
    fn from_high_nibbles(self, bytes: &[u8], offset: i32) -> V {
        widen(bytes, |[code]| (i32::from(code >> 4) - offset) as f32)
    }
    #[inline(always)]
    fn from_e4m3(self, bytes: &[u8]) -> V {
        widen(bytes, |[code]| e4m3_to_f32(code))
    }
    #[inline(always)]
    fn from_e5m2(self, bytes: &[u8]) -> V {
        widen(bytes, |[code]| half_to_f32(u16::from(code) << 8))
    }
}
