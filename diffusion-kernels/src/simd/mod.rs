//! Vectors of f32: the operations that kernels are made of, on each set of instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod functions;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use functions::{
    exp2, exp2_of_negative, exp2_of_negative_coarse, gelu_erf, gelu_erf_slope, gelu_quick, gelu_quick_slope, gelu_tanh,
    gelu_tanh_slope, silu, silu_slope,
};
pub(crate) use generic::Generic;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

/// Vectors of [`LANES`](Self::LANES) f32. A value of it is proof that the processor has the instructions.
///
/// Every method is inlined, and so must be every function between a method and [`vectorize`](Self::vectorize): there alone
/// the compiler may use the instructions. A method called elsewhere is right, but slow: also in a closure that is handed to a
/// function of the standard library, such as `map` or `from_fn` of arrays, which need not be inlined. Loops are.
///
/// Slices are read and written within their bounds; where a method wants more numbers than there are, it panics, but for the
/// `_part` methods, which take what exists.
#[expect(clippy::wrong_self_convention, reason = "the value says which instructions to use, not what to convert")]
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector. Its bits are kept by everything but arithmetic, so it can hold pairs of bf16 too.
    type V: Copy + Send + Sync;
    /// As many vectors as there are lanes.
    type Block: Copy + AsRef<[Self::V]> + AsMut<[Self::V]>;
    /// Numbers in a vector, at most [`MAX_LANES`].
    const LANES: usize;

    /// Call `body` with the instructions enabled: it and all it calls must be `#[inline(always)]`.
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R;

    fn splat(self, value: f32) -> Self::V;
    /// The first numbers of `values`.
    fn load(self, values: &[f32]) -> Self::V;
    /// The first numbers of `values`, then zeros.
    fn load_part(self, values: &[f32]) -> Self::V;
    /// A half-precision number, little-endian, in every lane.
    fn splat_f16(self, bytes: [u8; 2]) -> Self::V;
    fn store(self, vector: Self::V, out: &mut [f32]);
    /// Write as many numbers as `out` has room for.
    fn store_part(self, vector: Self::V, out: &mut [f32]);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where either is no number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` where either is no number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even; only for magnitudes below 2^22.
    fn round(self, a: Self::V) -> Self::V;
    /// `a · 2^power` for whole powers; infinite or zero where it does not fit. Powers of magnitude up to 250.
    fn scale(self, a: Self::V, power: Self::V) -> Self::V;
    /// `negative` where `sign` is below zero, `other` elsewhere.
    fn select_negative(self, sign: Self::V, negative: Self::V, other: Self::V) -> Self::V;
    fn sum(self, a: Self::V) -> f32;
    fn highest(self, a: Self::V) -> f32;
    /// The lanes of each pair change places.
    fn swap_pairs(self, a: Self::V) -> Self::V;
    /// `a0 b0 a1 b1 ..`, in two vectors.
    fn interleave(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// Rounded to bf16, ties to even; what is no number stays none.
    fn round_bf16(self, a: Self::V) -> Self::V;

    /// Ask for the memory at an address, which need not be valid.
    fn prefetch(self, address: *const u8);

    fn zero_block(self) -> Self::Block;
    /// Rows become columns.
    fn transpose(self, block: Self::Block) -> Self::Block;

    /// The first [`LANES`](Self::LANES) bf16 of little-endian bytes.
    fn from_bf16(self, bytes: &[u8]) -> Self::V;
    /// IEEE half precision.
    fn from_f16(self, bytes: &[u8]) -> Self::V;
    /// f32 that need not be aligned.
    fn from_f32(self, bytes: &[u8]) -> Self::V;
    fn from_i8(self, bytes: &[u8]) -> Self::V;
    /// `code - offset` of the lower four bits of each byte.
    fn from_low_nibbles(self, bytes: &[u8], offset: i32) -> Self::V;
    /// `code - offset` of the upper four bits of each byte.
    fn from_high_nibbles(self, bytes: &[u8], offset: i32) -> Self::V;
    /// OCP 8-bit floats with 4 exponent bits and no infinity.
    fn from_e4m3(self, bytes: &[u8]) -> Self::V;
    /// OCP 8-bit floats with 5 exponent bits.
    fn from_e5m2(self, bytes: &[u8]) -> Self::V;

    fn zero(self) -> Self::V {
        self.splat(0.0)
    }
}

/// No vector is longer.
pub(crate) const MAX_LANES: usize = 16;

#[cfg(test)]
mod tests;
