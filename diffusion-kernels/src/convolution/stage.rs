//! Images as tiles read them: normalised and activated, with zeros around them, in units.

use super::images::{Channel, Images};
use super::window::Geometry;
use crate::Activation;
use crate::rows::put;
use crate::simd::Simd;
use crate::tile::{Arith, Offsets};

/// How some rows of an image are staged.
///
/// A row begins with the zeros before it, and ends with enough of them for a vector at every column of the result. Where every
/// second pixel counts, the even ones come first, then the odd ones, so that neighbours in the result are neighbours here.
#[derive(Clone, Copy)]
pub(super) struct Staging {
    geometry: Geometry,
    /// Rows of a plane.
    rows: usize,
    /// Units of a row, or of the even ones of a row.
    line: usize,
}

impl Staging {
    /// For so many rows of the result, before they are doubled, of so many vectors.
    pub(super) fn new<S: Simd>(geometry: Geometry, rows: usize, vectors: usize) -> Self {
        Self {
            geometry,
            rows: (rows - 1) * geometry.step + geometry.taps + geometry.parities - 1,
            line: (vectors + 1) * S::LANES,
        }
    }

    pub(super) fn plane_len(self) -> usize {
        self.rows * self.row_len()
    }

    fn row_len(self) -> usize {
        self.geometry.step * self.line
    }

    /// Where a tile at this row and column of the result begins.
    #[inline(always)]
    pub(super) fn base(self, row: usize, column: usize) -> usize {
        row * self.geometry.step * self.row_len() + column
    }

    /// Where the taps of each plane are, from there, for each kernel.
    pub(super) fn offsets(self, planes: usize) -> Vec<Offsets> {
        let Geometry { taps, step, parities, .. } = self.geometry;
        let offset = |kernel: usize, at: usize| {
            let (plane, tap) = (at / (taps * taps), at % (taps * taps));
            let (row, column) = (kernel / parities + tap / taps, kernel % parities + tap % taps);
            (plane * self.plane_len() + row * self.row_len() + column % step * self.line + column / step) as u32
        };
        let of_kernel = |kernel| (0..planes * taps * taps).map(|at| offset(kernel, at)).collect();
        (0..self.geometry.kernels()).map(of_kernel).collect()
    }

    /// Units of what [`stage`](Self::stage) needs besides its output.
    pub(super) fn spare_len(self) -> usize {
        self.row_len()
    }

    /// Stage the rows of a plane of `image` that the rows of the result from `first` on need.
    #[inline(always)]
    pub(super) fn stage<A: Arith>(
        self,
        arith: A,
        images: &Images<'_>,
        [image, plane, first]: [usize; 3],
        spare: &mut [f32],
        out: &mut [f32],
    ) {
        let [_, channels, height, width] = images.shape;
        let channel = plane * A::PER_UNIT;
        let upper = images.channel(image, channel);
        let lower = (channel + 1 < channels).then(|| images.channel(image, channel + 1));
        for (row, out) in out.chunks_exact_mut(self.row_len()).enumerate() {
            let row = (first * self.geometry.step + row).checked_sub(self.geometry.before).filter(|&row| row < height);
            let Some(row) = row else {
                out.fill(0.0);
                continue;
            };
            let pixels = row * width..(row + 1) * width;
            let upper = upper.part(&pixels);
            let lower = lower.map(|lower| lower.part(&pixels));
            if self.geometry.step == 1 {
                self.stage_row(arith, upper, lower, images.activation, out);
            } else {
                self.stage_row(arith, upper, lower, images.activation, spare);
                let (even, odd) = out.split_at_mut(self.line);
                for ((pair, even), odd) in spare.as_chunks::<2>().0.iter().zip(even).zip(odd) {
                    [*even, *odd] = *pair;
                }
            }
        }
    }

    /// Stage a row of one channel, or of two that make a unit.
    #[inline(always)]
    fn stage_row<A: Arith>(
        self,
        arith: A,
        upper: Channel<'_>,
        lower: Option<Channel<'_>>,
        activation: Activation,
        out: &mut [f32],
    ) {
        let s = arith.simd();
        let width = upper.pixels.len();
        let (before, rest) = out.split_at_mut(self.geometry.before);
        let (line, behind) = rest.split_at_mut(width);
        before.fill(0.0);
        behind.fill(0.0);
        for column in (0..width).step_by(A::S::LANES) {
            let units = arith.stack(
                upper.vector(s, activation, column),
                #[inline(always)]
                || match lower {
                    Some(lower) => lower.vector(s, activation, column),
                    None => s.zero(),
                },
            );
            put(s, units, line, column);
        }
    }
}
