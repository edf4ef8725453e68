//! What happens to sums before they are written.

use crate::simd::{Simd, gelu_erf, gelu_quick, gelu_tanh, silu};

/// A function of each number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// The number itself.
    #[default]
    None,
    /// GELU with the tanh approximation: transformer blocks and T5.
    GeluTanh,
    /// GELU with the error function: CLIP-G.
    GeluErf,
    /// GELU with the logistic function, `x σ(1.702 x)`: CLIP-L.
    GeluQuick,
    /// `x σ(x)`
    Silu,
    /// `max(x, 0)`
    Relu,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        match self {
            Self::None => x,
            Self::GeluTanh => gelu_tanh(s, x),
            Self::GeluErf => gelu_erf(s, x),
            Self::GeluQuick => gelu_quick(s, x),
            Self::Silu => silu(s, x),
            Self::Relu => s.max(s.zero(), x),
        }
    }
}

/// A vector for the rows of each image of a batch.
#[derive(Clone, Copy, Debug)]
pub struct PerImage<'a> {
    values: &'a [f32],
    rows_per_image: usize,
}

impl<'a> PerImage<'a> {
    /// One vector for all rows.
    pub fn same(values: &'a [f32]) -> Self {
        Self { values, rows_per_image: usize::MAX }
    }

    /// `values` is `[images, width]`; the first `rows_per_image` rows are those of the first image.
    ///
    /// # Panics
    /// If `rows_per_image` is zero.
    pub fn new(values: &'a [f32], rows_per_image: usize) -> Self {
        assert!(rows_per_image > 0, "an image without rows");
        Self { values, rows_per_image }
    }

    /// The vector of a row.
    #[inline(always)]
    pub(crate) fn of_row(self, row: usize, width: usize) -> &'a [f32] {
        &self.values[row / self.rows_per_image * width..][..width]
    }

    /// Panics unless every row has a vector, and no vector is without rows.
    pub(crate) fn check(self, rows: usize, width: usize, name: &str) {
        let images = rows.div_ceil(self.rows_per_image).max(1);
        assert_eq!(self.values.len(), images * width, "numbers of {name} for {images} images");
    }
}

/// What the result is added to.
#[derive(Clone, Copy, Debug, Default)]
pub enum Residual<'a> {
    /// Nothing.
    #[default]
    None,
    /// What the output buffer holds.
    Out,
    /// Numbers in the shape of the output.
    From(&'a [f32]),
}

/// What happens to the sums of a product: `residual + gate · activation(sum + bias + beside)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One for each column.
    pub bias: Option<&'a [f32]>,
    /// Numbers in the shape of the output: the product of a low-rank adapter.
    pub beside: Option<&'a [f32]>,
    /// Applied to the sum of these.
    pub activation: Activation,
    /// One for each column.
    pub gate: Option<PerImage<'a>>,
    /// Added last.
    pub residual: Residual<'a>,
}

impl Epilogue<'_> {
    pub(super) fn check(&self, rows: usize, outputs: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == outputs), "a bias of other than {outputs} numbers");
        if let Some(beside) = self.beside {
            assert_eq!(beside.len(), rows * outputs, "numbers beside the sums");
        }
        if let Some(gate) = self.gate {
            gate.check(rows, outputs, "the gate");
        }
        if let Residual::From(values) = self.residual {
            assert_eq!(values.len(), rows * outputs, "numbers of the residual");
        }
    }

    /// Write sums of row `row` of the result, from column `column` on, to `out`.
    #[inline(always)]
    pub(super) fn write<S: Simd>(
        &self,
        s: S,
        scale: f32,
        sums: &[f32],
        [row, column]: [usize; 2],
        outputs: usize,
        out: &mut [f32],
    ) {
        let columns = column..column + out.len();
        let bias = self.bias.map(|bias| &bias[columns.clone()]);
        let of_output = row * outputs + column..row * outputs + column + out.len();
        let beside = self.beside.map(|beside| &beside[of_output.clone()]);
        let gate = self.gate.map(|gate| &gate.of_row(row, outputs)[columns]);
        let residual = match self.residual {
            Residual::From(values) => Some(&values[of_output]),
            Residual::None | Residual::Out => None,
        };
        let add_to_out = matches!(self.residual, Residual::Out);
        let scale = s.splat(scale);
        for (index, out) in out.chunks_mut(S::LANES).enumerate() {
            let first = index * S::LANES;
            let part = first..first + out.len();
            let mut value = s.mul(s.load(&sums[first..]), scale);
            if let Some(bias) = bias {
                value = s.add(value, s.load_part(&bias[part.clone()]));
            }
            if let Some(beside) = beside {
                value = s.add(value, s.load_part(&beside[part.clone()]));
            }
            value = self.activation.apply(s, value);
            let base = match residual {
                Some(residual) => s.load_part(&residual[part.clone()]),
                None if add_to_out => s.load_part(out),
                None => s.zero(),
            };
            value = match gate {
                Some(gate) => s.mul_add(value, s.load_part(&gate[part]), base),
                None => s.add(value, base),
            };
            s.store_part(value, out);
        }
    }
}
