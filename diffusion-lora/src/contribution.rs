//! What one adapter makes of one parameter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use burn::tensor::Tensor;
use diffusion_core::checkpoint::{Arrangement, CheckpointError};
use diffusion_core::weights::{PatchKey, ReadParameter};

use crate::place::{Place, PlaceKind};
use crate::strength::LoraStrength;
use crate::tensors::{Factors, Method};

/// The reference divides by a length plus this, so that a column of zeros stays one.
///
/// Reference: LyCORIS `modules/locon.py#L239-L260`, `torch.finfo(torch.float32).eps`.
const EPSILON: f32 = f32::EPSILON;

/// What one adapter makes of one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Contribution {
    place: Place,
    factors: Arc<Factors>,
    /// The user's strength.
    strength: LoraStrength,
    /// The file that the adapter comes from, and the strength.
    pub(crate) key: PatchKey,
    /// Lengths of the columns of the whole matrix that the parameter is a part of, `[1, columns]`, once they are known.
    column_lengths: Option<Tensor<2>>,
}

impl Contribution {
    pub(crate) fn new(place: Place, factors: Arc<Factors>, strength: LoraStrength, key: PatchKey) -> Self {
        Self { place, factors, strength, key, column_lengths: None }
    }

    /// The patched parameter, in f32.
    ///
    /// # Shapes
    /// - weight: `[rows, columns]`, `[rows, 1]` for a bias; result: the same, or with more columns
    pub(crate) fn apply(&self, weight: Tensor<2>) -> Tensor<2> {
        match (self.place.kind, self.factors.method) {
            (PlaceKind::Bias, _) => match &self.factors.bias {
                Some(bias) => weight + self.own_rows(bias.clone()).mul_scalar(self.strength.get()),
                None => weight,
            },
            // A replaced parameter is not mixed with the old one, whatever the strength: as ComfyUI and diffusers do it.
            (PlaceKind::Weight, Method::Replacement) => self.delta(),
            (PlaceKind::Weight, _) => self.added_to(weight),
        }
    }

    fn added_to(&self, weight: Tensor<2>) -> Tensor<2> {
        let delta = self.delta().mul_scalar(self.factors.scale);
        let weight = widened(weight, delta.dims()[1]);
        let Some(magnitude) = &self.factors.magnitude else {
            return weight + delta.mul_scalar(self.strength.get());
        };
        let direction = weight.clone() + delta;
        let (magnitude, lengths) = if self.is_of_columns() {
            let lengths = self.column_lengths.clone().unwrap_or_else(|| lengths(direction.clone(), 0));
            (magnitude.clone(), lengths)
        } else {
            (self.own_rows(magnitude.clone()), lengths(direction.clone(), 1))
        };
        let patched = with_lengths(direction, magnitude, lengths);
        // Between the old weight and the new one, as ComfyUI understands strength.
        weight.clone() + (patched - weight).mul_scalar(self.strength.get())
    }

    /// The parameter's rows of what is added to the weight, in the parameter's order.
    fn delta(&self) -> Tensor<2> {
        in_order(self.factors.rows(self.place.rows.clone()), self.place.arrangement)
    }

    /// The parameter's rows of a column, in the parameter's order.
    fn own_rows(&self, column: Tensor<2>) -> Tensor<2> {
        let rows = &self.place.rows;
        in_order(column.narrow(0, rows.start, rows.len()), self.place.arrangement)
    }

    /// Whether its strength may be another from one use to the next.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(self.strength, LoraStrength::Variable(_))
    }

    /// Feed `state` with all that the result depends on besides the parameter; `None` if the strength may be turned.
    pub(crate) fn identify(&self, mut state: &mut dyn Hasher) -> Option<()> {
        let LoraStrength::Fixed(strength) = self.strength else { return None };
        strength.to_bits().hash(&mut state);
        format!("{:?}", self.place).hash(&mut state);
        self.factors.identify(state);
        Some(())
    }

    /// Whether columns get the lengths of the adapter, and not rows.
    fn is_of_columns(&self) -> bool {
        self.factors.magnitude.as_ref().is_some_and(|magnitude| magnitude.dims()[0] == 1)
    }

    /// Whether its result depends on parameters besides its own, which it does not know yet: columns reach over all parts of a
    /// fused matrix.
    pub(crate) fn is_unresolved(&self) -> bool {
        let is_fused = self.place.kind == PlaceKind::Weight && self.place.fused.len() > 1;
        is_fused && self.is_of_columns() && self.column_lengths.is_none()
    }

    /// The same with the lengths of columns that it needs: those that the file's weights have with this adapter alone.
    ///
    /// # Errors
    /// [`CheckpointError`] if they cannot be read.
    pub(crate) fn resolved(&self, read: ReadParameter) -> Result<Self, CheckpointError> {
        if !self.is_unresolved() {
            return Ok(self.clone());
        }
        let mut squares: Option<Tensor<2>> = None;
        for (parameter, rows) in self.place.fused.iter() {
            let delta = self.factors.rows(rows.clone()).mul_scalar(self.factors.scale);
            let weight = Tensor::<2>::from_data(read(parameter)?, &delta.device());
            let of_part = (weight + delta).square().sum_dim(0);
            squares = Some(match squares {
                Some(sum) => sum + of_part,
                None => of_part,
            });
        }
        Ok(Self { column_lengths: squares.map(Tensor::sqrt), ..self.clone() })
    }

    /// Factors `(up, down)`, all scales within, if it is a product of two and nothing more.
    ///
    /// # Shapes
    /// - up: `[rows, rank]`, down: `[rank, columns]`
    pub(crate) fn low_rank(&self) -> Option<(Tensor<2>, Tensor<2>)> {
        if self.place.kind == PlaceKind::Bias {
            return None;
        }
        let (up, down) = self.factors.low_rank(self.place.rows.clone())?;
        let up = in_order(up, self.place.arrangement).mul_scalar(self.factors.scale * self.strength.get());
        Some((up, down))
    }
}

/// Rows of a file in the order of the parameter. A place is never transposed.
fn in_order(rows: Tensor<2>, arrangement: Arrangement) -> Tensor<2> {
    match arrangement {
        Arrangement::Same | Arrangement::Transposed => rows,
        Arrangement::HalvesSwapped => {
            let [len, _] = rows.dims();
            Tensor::cat(vec![rows.clone().narrow(0, len / 2, len - len / 2), rows.narrow(0, 0, len / 2)], 0)
        }
    }
}

/// Columns of zeros at the end, for an adapter that takes more inputs.
fn widened(weight: Tensor<2>, columns: usize) -> Tensor<2> {
    let [rows, present] = weight.dims();
    if columns <= present {
        return weight;
    }
    let zeros = Tensor::zeros([rows, columns - present], (&weight.device(), weight.dtype()));
    Tensor::cat(vec![weight, zeros], 1)
}

/// Lengths of rows (`dim` 1) or columns (`dim` 0).
fn lengths(weight: Tensor<2>, dim: usize) -> Tensor<2> {
    weight.square().sum_dim(dim).sqrt()
}

/// Rows, or columns, with the directions that they have and the lengths of `magnitude`. arXiv 2402.09353, equation 5.
fn with_lengths(weight: Tensor<2>, magnitude: Tensor<2>, lengths: Tensor<2>) -> Tensor<2> {
    weight * (magnitude / lengths.add_scalar(EPSILON))
}
