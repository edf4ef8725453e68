//! The whole input of a product, packed.

use super::decode::Floats;
use super::job::{Job, each, part_len};
use super::pack::{Piece, pack_input};
use crate::memory::{Disjoint, with_scratch};
use crate::tile::Arith;

/// The input in panels of `width` rows: `[part][panel][unit of the part][width]`.
#[derive(Clone, Copy)]
pub(super) struct PackedInput<'a> {
    all: &'a [f32],
    width: usize,
    /// Panels of each part.
    pub(super) panels: usize,
    /// Units of a part, but of the last.
    pub(super) part: usize,
    /// Units of a row.
    pub(super) units: usize,
}

impl PackedInput<'_> {
    /// `count` panels from `first` on, of the part that begins at unit `start`.
    pub(super) fn panels(&self, start: usize, first: usize, count: usize) -> &[f32] {
        let len = self.len_from(start);
        &self.all[(start * self.panels + first * len) * self.width..][..count * len * self.width]
    }

    /// Units of the part that begins at unit `start`.
    pub(super) fn len_from(&self, start: usize) -> usize {
        self.part.min(self.units - start)
    }
}

/// Call `body` with the packed input of a product.
pub(super) fn with_packed_input<A: Arith, R>(
    arith: A,
    job: &Job<'_>,
    width: usize,
    body: impl FnOnce(PackedInput<'_>) -> R,
) -> R {
    let [_, inputs] = job.weight.shape();
    let units = inputs.div_ceil(A::PER_UNIT);
    let part = part_len::<A>(job.weight);
    let panels = job.rows.div_ceil(width);
    with_scratch(panels * width * units, |all| {
        let places = Disjoint::new(all);
        each(panels * units.div_ceil(part), job.threads(), |index| {
            let (panel, start) = (index % panels, index / panels * part);
            let len = part.min(units - start);
            let numbers = start * A::PER_UNIT..inputs.min((start + len) * A::PER_UNIT);
            let rows = panel * width..job.rows.min((panel + 1) * width);
            // SAFETY: each panel of each part is written once.
            let out = unsafe { places.part((start * panels + panel * len) * width, len * width) };
            pack_input(arith, Floats { stored: job.input, row_len: inputs }, &Piece { rows, numbers, width }, out);
        });
        body(PackedInput { all, width, panels, part, units })
    })
}
