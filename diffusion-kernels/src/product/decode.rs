//! Units of stored numbers.

use std::ops::Range;

use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Arith, Vector};

/// A matrix of stored numbers.
pub(super) trait Decode: Copy {
    /// What rows are slices of: numbers, or bytes.
    type Stored: Copy;
    /// Numbers in a block, and what they take.
    const BLOCK: (usize, usize);

    fn stored(&self) -> &[Self::Stored];
    /// Numbers in a row.
    fn row_len(&self) -> usize;

    /// A vector of the numbers of a part of a row, from number `first` on; zeros for those that do not exist.
    ///
    /// The part begins at a block, and `first` is a multiple of the vector's length. `ALL` exist, or some may not: without
    /// what is to be done then, loops are short enough to be unrolled.
    fn vector<S: Simd, const ALL: bool>(s: S, part: &[Self::Stored], first: usize) -> S::V;

    /// A vector of units, otherwise as [`vector`](Self::vector).
    #[inline(always)]
    fn units<A: Arith, const ALL: bool>(arith: A, part: &[Self::Stored], first: usize) -> Vector<A> {
        let s = arith.simd();
        arith.units(
            Self::vector::<_, ALL>(s, part, first),
            #[inline(always)]
            || Self::vector::<_, ALL>(s, part, first + A::S::LANES),
        )
    }

    /// Some numbers of a row, which begin at a block.
    #[inline(always)]
    fn part(&self, row: usize, numbers: &Range<usize>) -> &[Self::Stored] {
        let (len, size) = Self::BLOCK;
        let first = row * self.row_len();
        &self.stored()[(first + numbers.start) / len * size..(first + numbers.end) / len * size]
    }
}

/// Rows of f32, as inputs have them.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a> {
    pub(super) stored: &'a [f32],
    pub(super) row_len: usize,
}

impl Decode for Floats<'_> {
    type Stored = f32;
    const BLOCK: (usize, usize) = (1, 1);

    #[inline(always)]
    fn stored(&self) -> &[f32] {
        self.stored
    }
    #[inline(always)]
    fn row_len(&self) -> usize {
        self.row_len
    }
    #[inline(always)]
    fn vector<S: Simd, const ALL: bool>(s: S, part: &[f32], first: usize) -> S::V {
        match part.get(first..first + S::LANES) {
            _ if ALL => s.load(&part[first..]),
            Some(values) => s.load(values),
            None => s.load_part(part.get(first..).unwrap_or_default()),
        }
    }
}

/// `len` bytes from `start` on, zero where there are none.
#[inline(always)]
fn with_bytes<R, const ALL: bool>(bytes: &[u8], start: usize, len: usize, body: impl Fn(&[u8]) -> R) -> R {
    if ALL {
        return body(&bytes[start..start + len]);
    }
    if let Some(bytes) = bytes.get(start..start + len) {
        return body(bytes);
    }
    let mut padded = [0; 4 * MAX_LANES];
    let rest = bytes.get(start..).unwrap_or_default();
    padded[..rest.len()].copy_from_slice(rest);
    body(&padded)
}

/// A format of blocks of `$len` numbers in `$size` bytes.
macro_rules! stored {
    ($name:ident, $len:literal, $size:literal, $($body:tt)*) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name<'a> {
            pub(super) stored: &'a [u8],
            pub(super) row_len: usize,
        }

        impl Decode for $name<'_> {
            type Stored = u8;
            const BLOCK: (usize, usize) = ($len, $size);

            #[inline(always)]
            fn stored(&self) -> &[u8] {
                self.stored
            }
            #[inline(always)]
            fn row_len(&self) -> usize {
                self.row_len
            }
            $($body)*
        }
    };
}

/// A format whose numbers stand by themselves.
macro_rules! plain {
    ($name:ident, $size:literal, $widen:ident, $($units:tt)*) => {
        stored!(
            $name,
            1,
            $size,
            #[inline(always)]
            fn vector<S: Simd, const ALL: bool>(s: S, part: &[u8], first: usize) -> S::V {
                with_bytes::<_, ALL>(part, first * $size, S::LANES * $size, #[inline(always)] |bytes| s.$widen(bytes))
            }
            $($units)*
        );
    };
}

plain!(StoredF32, 4, from_f32,);
plain!(StoredF16, 2, from_f16,);
plain!(StoredE4M3, 1, from_e4m3,);
plain!(StoredE5M2, 1, from_e5m2,);
plain!(
    StoredBf16,
    2,
    from_bf16,
    /// What is in bf16 already is not rounded again.
    #[inline(always)]
    fn units<A: Arith, const ALL: bool>(arith: A, part: &[u8], first: usize) -> Vector<A> {
        let len = 2 * A::S::LANES * A::PER_UNIT;
        with_bytes::<_, ALL>(
            part,
            2 * first,
            len,
            #[inline(always)]
            |bytes| arith.units_of_bf16(bytes),
        )
    }
);

/// The block that number `at` is in, if there is one, and where in it.
#[inline(always)]
fn block_of<const LEN: usize, const BYTES: usize>(part: &[u8], at: usize) -> Option<(&[u8; BYTES], usize)> {
    let (blocks, _) = part.as_chunks::<BYTES>();
    Some((blocks.get(at / LEN)?, at % LEN))
}

// The lengths of vectors divide 32: none goes beyond the numbers of a scale.
stored!(
    StoredQ8_0,
    32,
    34,
    #[inline(always)]
    fn vector<S: Simd, const ALL: bool>(s: S, part: &[u8], first: usize) -> S::V {
        let Some((block, at)) = block_of::<32, 34>(part, first) else { return s.zero() };
        s.mul(s.from_i8(&block[2 + at..]), s.splat_f16([block[0], block[1]]))
    }
);
stored!(
    StoredQ4_0,
    32,
    18,
    #[inline(always)]
    fn vector<S: Simd, const ALL: bool>(s: S, part: &[u8], first: usize) -> S::V {
        let Some((block, at)) = block_of::<32, 18>(part, first) else { return s.zero() };
        // Number j is in the low half of byte j, number j + 16 in its high half.
        let codes = if at < 16 { s.from_low_nibbles(&block[2 + at..], 8) } else { s.from_high_nibbles(&block[at - 14..], 8) };
        s.mul(codes, s.splat_f16([block[0], block[1]]))
    }
);
stored!(
    StoredQ4K,
    256,
    144,
    #[inline(always)]
    fn vector<S: Simd, const ALL: bool>(s: S, part: &[u8], first: usize) -> S::V {
        let Some((block, at)) = block_of::<256, 144>(part, first) else { return s.zero() };
        let (sub_block, at) = (at / 32, at % 32);
        let codes = &block[16 + sub_block / 2 * 32 + at..];
        let codes = if sub_block.is_multiple_of(2) { s.from_low_nibbles(codes, 0) } else { s.from_high_nibbles(codes, 0) };
        let (scale, minimum) = scale_and_minimum(block, sub_block);
        let scale = s.mul(s.splat_f16([block[0], block[1]]), s.splat(scale));
        let minimum = s.mul(s.splat_f16([block[2], block[3]]), s.splat(minimum));
        s.sub(s.mul(codes, scale), minimum)
    }
);

/// Scale and minimum of a sub-block, six bits each, in the twelve bytes from the fifth of the block on.
#[inline(always)]
fn scale_and_minimum(block: &[u8; 144], sub_block: usize) -> (f32, f32) {
    let at = 4 + sub_block % 4;
    let (scale, minimum) = if sub_block < 4 {
        (block[at] & 63, block[at + 4] & 63)
    } else {
        (block[at + 8] & 15 | block[at] >> 6 << 4, block[at + 8] >> 4 | block[at + 4] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}
