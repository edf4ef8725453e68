//! How products are computed.

use crate::WeightFormat;
use crate::simd::Simd;

/// What a unit of 32 bits holds, and what adds the product of two of them. A value of it is proof that the processor has the
/// instructions; as with [`Simd`], they are enabled inside [`vectorize`](Self::vectorize) alone.
pub(crate) trait Arith: Copy + Send + Sync + 'static {
    type S: Simd;
    /// Numbers in a unit.
    const PER_UNIT: usize;
    /// The format whose bytes are units, if there is one.
    const STORED: Option<WeightFormat>;

    fn simd(self) -> Self::S;
    /// Call `body` with the instructions enabled: it and all it calls must be `#[inline(always)]`.
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R;
    /// `sum + a · b` in each lane.
    fn dot(self, sum: Vector<Self>, a: Vector<Self>, b: Vector<Self>) -> Vector<Self>;
    /// Units of numbers that follow one another: those of `first` and, where a unit holds two, those of `second`.
    fn units(self, first: Vector<Self>, second: impl FnOnce() -> Vector<Self>) -> Vector<Self>;
    /// Units of the bf16 in little-endian bytes.
    fn units_of_bf16(self, bytes: &[u8]) -> Vector<Self>;
    /// Units whose numbers lie in different rows, one below the other: those of `upper` and, where a unit holds two, of `lower`.
    fn stack(self, upper: Vector<Self>, lower: impl FnOnce() -> Vector<Self>) -> Vector<Self>;
}

/// The vectors of an arithmetic.
pub(crate) type Vector<A> = <<A as Arith>::S as Simd>::V;

/// f32 throughout.
#[derive(Clone, Copy)]
pub(crate) struct F32<S>(pub(crate) S);

impl<S: Simd> Arith for F32<S> {
    type S = S;
    const PER_UNIT: usize = 1;
    const STORED: Option<WeightFormat> = if cfg!(target_endian = "little") { Some(WeightFormat::F32) } else { None };

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }
    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        self.0.vectorize(body)
    }
    #[inline(always)]
    fn dot(self, sum: S::V, a: S::V, b: S::V) -> S::V {
        self.0.mul_add(a, b, sum)
    }
    #[inline(always)]
    fn units(self, first: S::V, _: impl FnOnce() -> S::V) -> S::V {
        first
    }
    #[inline(always)]
    fn units_of_bf16(self, bytes: &[u8]) -> S::V {
        self.0.from_bf16(bytes)
    }
    #[inline(always)]
    fn stack(self, upper: S::V, _: impl FnOnce() -> S::V) -> S::V {
        upper
    }
}

/// Operands rounded to bf16 and kept as f32, for processors without products of pairs.
#[derive(Clone, Copy)]
pub(crate) struct Rounded<S>(pub(crate) S);

impl<S: Simd> Arith for Rounded<S> {
    type S = S;
    const PER_UNIT: usize = 1;
    const STORED: Option<WeightFormat> = None;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }
    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        self.0.vectorize(body)
    }
    #[inline(always)]
    fn dot(self, sum: S::V, a: S::V, b: S::V) -> S::V {
        self.0.mul_add(a, b, sum)
    }
    #[inline(always)]
    fn units(self, first: S::V, _: impl FnOnce() -> S::V) -> S::V {
        self.0.round_bf16(first)
    }
    #[inline(always)]
    fn units_of_bf16(self, bytes: &[u8]) -> S::V {
        self.0.from_bf16(bytes)
    }
    #[inline(always)]
    fn stack(self, upper: S::V, _: impl FnOnce() -> S::V) -> S::V {
        self.0.round_bf16(upper)
    }
}
