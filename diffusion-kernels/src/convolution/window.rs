//! Which pixels a convolution sums.

use std::ops::Range;

/// Zeros around an image whose sides a convolution halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// A pixel on every side.
    Around,
    /// A pixel to the right and one below.
    RightAndBelow,
}

/// Which pixels a convolution sums for each pixel of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The same pixel alone: a kernel of 1 x 1.
    Pixel,
    /// 3 x 3 around the same pixel; zeros around the image.
    Square,
    /// 3 x 3 around the same pixel of the image with its sides doubled, every pixel a square of 2 x 2; zeros around it.
    SquareOfDoubled,
    /// 3 x 3 for every second pixel of every second row.
    SquareOfSecond(Border),
}

impl Window {
    /// Numbers that the kernel has for each input and output channel.
    pub fn kernel_len(self) -> usize {
        match self {
            Self::Pixel => 1,
            _ => KERNEL_SIDE * KERNEL_SIDE,
        }
    }

    /// Height and width of the result for an image of these.
    pub fn output_size(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Pixel | Self::Square => size,
            Self::SquareOfDoubled => size.map(|side| 2 * side),
            Self::SquareOfSecond(Border::Around) => size.map(|side| side.div_ceil(2)),
            Self::SquareOfSecond(Border::RightAndBelow) => size.map(|side| side / 2),
        }
    }

    pub(super) fn geometry(self) -> Geometry {
        let square = Geometry { taps: KERNEL_SIDE, step: 1, before: 1, parities: 1 };
        match self {
            Self::Pixel => Geometry { taps: 1, before: 0, ..square },
            Self::Square => square,
            Self::SquareOfDoubled => Geometry { taps: 2, parities: 2, ..square },
            Self::SquareOfSecond(Border::Around) => Geometry { step: 2, ..square },
            Self::SquareOfSecond(Border::RightAndBelow) => Geometry { step: 2, before: 0, ..square },
        }
    }
}

/// Rows, and columns, of a kernel that sees neighbours.
const KERNEL_SIDE: usize = 3;

/// How a kernel lies on the image. Rows and columns are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Rows of the image that a row of the result sums.
    pub(super) taps: usize,
    /// Rows of the image from one row of the result to the next.
    pub(super) step: usize,
    /// Zeros above the image.
    pub(super) before: usize,
    /// Rows of the result for each such step: where sides are doubled, an even and an odd one, each with a kernel of its own.
    pub(super) parities: usize,
}

impl Geometry {
    /// Rows of the kernel, as it is stored, that are summed for row `tap` of the image.
    ///
    /// In the doubled image two of three rows are the same row of the image: for an even row the last two, for an odd one the
    /// first two.
    pub(super) fn merged(self, parity: usize, tap: usize) -> Range<usize> {
        match (self.parities, parity, tap) {
            (1, ..) => tap..tap + 1,
            (_, 0, 0) => 0..1,
            (_, 0, _) => 1..3,
            (_, _, 0) => 0..2,
            _ => 2..3,
        }
    }

    /// Rows, and columns, of the kernel as it is stored.
    pub(super) fn kernel_side(self) -> usize {
        if self.taps == 1 { 1 } else { KERNEL_SIDE }
    }

    /// Planes (units of channels) that are staged at a time, which is part of a sum: so many that a tile has a hundred steps or
    /// so before its sums are put aside.
    pub(super) fn block(self) -> usize {
        match self.taps {
            1 => 64,
            2 => 32,
            _ => 16,
        }
    }

    /// Blocks of planes. Without planes there is one too, an empty one.
    pub(super) fn blocks(self, planes: usize) -> impl Iterator<Item = Range<usize>> {
        (0..planes.max(1)).step_by(self.block()).map(move |first| first..planes.min(first + self.block()))
    }

    /// Steps of the micro-kernel for each plane of the image.
    pub(super) fn steps(self) -> usize {
        self.taps * self.taps
    }

    /// Kernels that are applied to the image.
    pub(super) fn kernels(self) -> usize {
        self.parities * self.parities
    }
}
