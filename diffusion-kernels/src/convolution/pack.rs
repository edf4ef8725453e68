//! Kernels in the order that tiles read them.

use std::ops::Range;

use rayon::prelude::*;

use super::window::Geometry;
use crate::memory::{Disjoint, with_scratch};
use crate::product::{Piece, Weight, pack_weight};
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Arith, F32, Vector};

/// Kernels of a convolution, as `[kernel][block of planes][panel][plane][tap][MR]`.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    units: &'a [f32],
    layout: Layout,
}

/// Where packed kernels are.
#[derive(Clone, Copy)]
struct Layout {
    geometry: Geometry,
    planes: usize,
    panels: usize,
    rows: usize,
}

impl Layout {
    fn len(self) -> usize {
        self.geometry.kernels() * self.kernel_len()
    }

    fn kernel_len(self) -> usize {
        self.planes * self.geometry.steps() * self.panels * self.rows
    }

    /// Units of a panel of one kernel.
    fn part(self, kernel: usize, planes: &Range<usize>, panel: usize) -> Range<usize> {
        let steps = self.geometry.steps();
        let len = planes.len() * steps * self.rows;
        let first = kernel * self.kernel_len() + planes.start * steps * self.panels * self.rows + panel * len;
        first..first + len
    }
}

impl<'a> Packed<'a> {
    /// The panel of one kernel for a block of planes.
    #[inline(always)]
    pub(super) fn panel(self, kernel: usize, planes: &Range<usize>, panel: usize) -> &'a [f32] {
        &self.units[self.layout.part(kernel, planes, panel)]
    }
}

/// Call `body` with the kernels of `weight`, `[outputs, inputs x kernel]`, in panels of `MR` outputs.
pub(super) fn with_packed<A: Arith, const MR: usize>(
    arith: A,
    weight: &Weight<'_>,
    geometry: Geometry,
    body: impl FnOnce(Packed<'_>),
) {
    let [outputs, inputs] = weight.shape();
    let planes = (inputs / geometry.kernel_side().pow(2)).div_ceil(A::PER_UNIT);
    let layout = Layout { geometry, planes, panels: outputs.div_ceil(MR), rows: MR };
    with_scratch(layout.len(), |units| {
        let out = Disjoint::new(units);
        let panels = A::S::LANES / MR;
        (0..layout.panels.div_ceil(panels)).into_par_iter().for_each(|group| {
            let group = group * panels..layout.panels.min((group + 1) * panels);
            pack_panels::<A, MR>(arith, weight, layout, &group, out);
        });
        body(Packed { units, layout });
    });
}

/// Pack panels that fit into a vector.
fn pack_panels<A: Arith, const MR: usize>(
    arith: A,
    weight: &Weight<'_>,
    layout: Layout,
    panels: &Range<usize>,
    out: Disjoint<'_>,
) {
    let [outputs, inputs] = weight.shape();
    let kernel_len = layout.geometry.kernel_side().pow(2);
    let block_len = layout.geometry.block() * A::PER_UNIT * kernel_len;
    with_scratch(block_len * A::S::LANES, |columns| {
        for planes in layout.geometry.blocks(layout.planes) {
            // `[channel][kernel][LANES]`
            let numbers = planes.start * A::PER_UNIT * kernel_len..inputs.min(planes.end * A::PER_UNIT * kernel_len);
            let columns = &mut columns[..numbers.len() * A::S::LANES];
            let rows = panels.start * MR..outputs.min(panels.end * MR);
            let piece = Piece { rows, numbers, width: A::S::LANES };
            pack_weight(F32(arith.simd()), weight, &piece, columns);
            arith.vectorize(
                #[inline(always)]
                || {
                    for kernel in 0..layout.geometry.kernels() {
                        pack_kernel::<A, MR>(arith, layout, kernel, columns, panels, &planes, out);
                    }
                },
            );
        }
    });
}

#[inline(always)]
fn pack_kernel<A: Arith, const MR: usize>(
    arith: A,
    layout: Layout,
    kernel: usize,
    columns: &[f32],
    panels: &Range<usize>,
    planes: &Range<usize>,
    out: Disjoint<'_>,
) {
    let s = arith.simd();
    let Geometry { taps, parities, .. } = layout.geometry;
    let mut units = [0.0; MAX_LANES];
    for plane in 0..planes.len() {
        for tap in 0..layout.geometry.steps() {
            let rows = layout.geometry.merged(kernel / parities, tap / taps);
            let tap_columns = layout.geometry.merged(kernel % parities, tap % taps);
            let first = plane * A::PER_UNIT;
            let upper = merge(arith, layout.geometry, columns, first, [&rows, &tap_columns]);
            let vector = arith.stack(
                upper,
                #[inline(always)]
                || merge(arith, layout.geometry, columns, first + 1, [&rows, &tap_columns]),
            );
            s.store(vector, &mut units);
            for (panel, units) in panels.clone().zip(units.chunks_exact(MR)) {
                let part = layout.part(kernel, planes, panel);
                let first = part.start + (plane * layout.geometry.steps() + tap) * MR;
                // SAFETY: every panel is packed by one thread alone.
                unsafe { out.part(first, MR) }.copy_from_slice(units);
            }
        }
    }
}

/// The sum of these rows and columns of the kernels of a channel; zero if there is no such channel.
#[inline(always)]
fn merge<A: Arith>(
    arith: A,
    geometry: Geometry,
    columns: &[f32],
    channel: usize,
    [rows, tap_columns]: [&Range<usize>; 2],
) -> Vector<A> {
    let (s, side) = (arith.simd(), geometry.kernel_side());
    let mut sum = s.zero();
    for row in rows.clone() {
        for column in tap_columns.clone() {
            let at = ((channel * side + row) * side + column) * A::S::LANES;
            if let Some(numbers) = columns.get(at..at + A::S::LANES) {
                sum = s.add(sum, s.load(numbers));
            }
        }
    }
    sum
}
