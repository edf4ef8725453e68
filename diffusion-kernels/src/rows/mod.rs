//! What lies between products: each chain is one parallel pass over the rows, read once and written once.

mod activation;
mod gate;
mod gradients;
mod group_norm;
mod lanes;
mod layer_norm;
mod rms_norm;
mod softmax;

pub(crate) use lanes::{get, put};

pub use activation::{activate, activate_and_multiply};
pub use gate::add_gated;
pub use gradients::{activate_backward, gate_rows, layer_norm_backward, normalise_heads_backward};
pub use group_norm::{ChannelNorm, GroupNorm, group_norm};
pub use layer_norm::{Affine, layer_norm};
pub use rms_norm::{HeadNorm, Rope, normalise_heads, rms_norm};
pub use softmax::softmax;

use rayon::prelude::*;

/// Where a pass reads what it writes to its output.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// From the output itself.
    InPlace,
    /// From numbers in the shape of the output.
    From(&'a [f32]),
}

impl<'a> Source<'a> {
    fn check(self, len: usize) {
        if let Self::From(values) = self {
            assert_eq!(values.len(), len, "numbers of the source and of the output");
        }
    }

    /// The same part of the source as `first` and `len` are of the output.
    #[inline(always)]
    fn part(self, first: usize, len: usize) -> Self {
        match self {
            Self::InPlace => Self::InPlace,
            Self::From(values) => Self::From(&values[first..first + len]),
        }
    }

    /// The numbers, where `out` is the output.
    #[inline(always)]
    fn or<'b>(self, out: &'b [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::InPlace => out,
            Self::From(values) => values,
        }
    }
}

/// Numbers that a thread takes at a time.
const CHUNK: usize = 1 << 15;

/// Call `body` with the first row, the source and the output of some whole rows at a time, on all threads.
///
/// # Panics
/// If the output is no whole number of rows, or the source is not as long.
fn each_rows(source: Source<'_>, out: &mut [f32], width: usize, body: impl Fn(usize, Source<'_>, &mut [f32]) + Sync) {
    source.check(out.len());
    if out.is_empty() {
        return;
    }
    assert!(width > 0 && out.len().is_multiple_of(width), "{} numbers in rows of {width}", out.len());
    let rows = (CHUNK / width).max(1);
    let chunk = |(index, out): (usize, &mut [f32])| {
        let first = index * rows;
        body(first, source.part(first * width, out.len()), out);
    };
    if out.len() <= CHUNK {
        chunk((0, out));
    } else {
        out.par_chunks_mut(rows * width).enumerate().for_each(chunk);
    }
}
