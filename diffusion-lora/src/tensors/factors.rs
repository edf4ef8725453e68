//! The mathematics of adapters: from factors to what they add to a weight.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use burn::tensor::Tensor;

use super::method::Method;

/// What an adapter is made of, on a device, in f32.
#[derive(Debug)]
pub(crate) struct Factors {
    /// How they patch the weight.
    pub(crate) method: Method,
    /// What is added to the weight, or replaces it; none if there is a bias only.
    pub(super) delta: Option<Delta>,
    /// What it is multiplied with, before the user's strength.
    pub(crate) scale: f64,
    /// The lengths of the patched weight's rows, `[rows, 1]`, or columns, `[1, columns]`. arXiv 2402.09353.
    pub(crate) magnitude: Option<Tensor<2>>,
    /// What is added to the bias, `[rows, 1]`.
    pub(crate) bias: Option<Tensor<2>>,
}

/// What is added to a weight, or replaces it, by its factors.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each module of a file")]
pub(super) enum Delta {
    /// `up`, `[rows, rank]`, times `down`, `[rank, columns]`.
    LowRank { up: Tensor<2>, down: Tensor<2> },
    /// Two such products, multiplied number by number.
    Hadamard([(Tensor<2>, Tensor<2>); 2]),
    /// The Kronecker product of two matrices.
    Kronecker([Tensor<2>; 2]),
    /// Itself, `[rows, columns]`.
    Whole(Tensor<2>),
}

impl Factors {
    /// Rows of what is added to the weight, or replaces it, without any scale.
    ///
    /// # Shapes
    /// - result: `[rows, columns]`
    /// # Panics
    /// If the adapter patches a bias only.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Tensor<2> {
        let narrowed = |matrix: &Tensor<2>| matrix.clone().narrow(0, rows.start, rows.len());
        match self.delta.as_ref().expect("an adapter of a weight") {
            Delta::LowRank { up, down } => narrowed(up).matmul(down.clone()),
            Delta::Hadamard(products) => {
                let [first, second] = products.each_ref().map(|(up, down)| narrowed(up).matmul(down.clone()));
                first * second
            }
            Delta::Kronecker([first, second]) => {
                let [second_rows, _] = second.dims();
                let needed = rows.start / second_rows..rows.end.div_ceil(second_rows);
                let product = kronecker(first.clone().narrow(0, needed.start, needed.len()), second.clone());
                product.narrow(0, rows.start - needed.start * second_rows, rows.len())
            }
            Delta::Whole(whole) => narrowed(whole),
        }
    }

    /// Those rows as factors `(up, down)`, without any scale, if they are a product of two and nothing more.
    ///
    /// # Shapes
    /// - up: `[rows, rank]`, down: `[rank, columns]`
    pub(crate) fn low_rank(&self, rows: Range<usize>) -> Option<(Tensor<2>, Tensor<2>)> {
        self.low_rank_beside_magnitude(rows).filter(|_| self.magnitude.is_none())
    }

    /// The same, also where lengths of rows or columns are set afterwards.
    pub(crate) fn low_rank_beside_magnitude(&self, rows: Range<usize>) -> Option<(Tensor<2>, Tensor<2>)> {
        match &self.delta {
            Some(Delta::LowRank { up, down }) => Some((up.clone().narrow(0, rows.start, rows.len()), down.clone())),
            _ => None,
        }
    }
}

impl Factors {
    /// Feed `state` with all numbers, and what is done with them.
    pub(crate) fn identify(&self, mut state: &mut dyn Hasher) {
        let Self { method, delta, scale, magnitude, bias } = self;
        format!("{method:?} {}", delta.as_ref().map_or("none", Delta::name)).hash(&mut state);
        scale.to_bits().hash(&mut state);
        let matrices = delta.iter().flat_map(Delta::matrices).map(Some).chain([magnitude.as_ref(), bias.as_ref()]);
        for matrix in matrices {
            matrix.map(Tensor::dims).hash(&mut state);
            if let Some(matrix) = matrix {
                matrix.to_data().as_bytes().hash(&mut state);
            }
        }
    }
}

impl Delta {
    fn name(&self) -> &'static str {
        match self {
            Self::LowRank { .. } => "low rank",
            Self::Hadamard(_) => "hadamard",
            Self::Kronecker(_) => "kronecker",
            Self::Whole(_) => "whole",
        }
    }

    fn matrices(&self) -> Vec<&Tensor<2>> {
        match self {
            Self::LowRank { up, down } => vec![up, down],
            Self::Hadamard(products) => products.iter().flat_map(|(up, down)| [up, down]).collect(),
            Self::Kronecker(matrices) => matrices.iter().collect(),
            Self::Whole(whole) => vec![whole],
        }
    }
}

/// `a ⊗ b`: every number of `a` times the whole of `b`.
pub(crate) fn kronecker(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let ([a_rows, a_columns], [b_rows, b_columns]) = (a.dims(), b.dims());
    let product = a.reshape([a_rows, 1, a_columns, 1]) * b.reshape([1, b_rows, 1, b_columns]);
    product.reshape([a_rows * b_rows, a_columns * b_columns])
}
