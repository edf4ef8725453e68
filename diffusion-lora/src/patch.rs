//! What several adapters together make of one parameter.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::ops::LowRank;
use diffusion_core::weights::{PatchKey, ReadParameter, WeightPatch};

use crate::factors::{Factors, Method};
use crate::strength::Scale;

/// Below the square of the smallest normal f32 nothing is lost; the reference divides by the length plus this.
///
/// Reference: LyCORIS `modules/locon.py#L239-L260`, `torch.finfo(torch.float32).eps`.
const EPSILON: f32 = f32::EPSILON;

/// What one adapter does to one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Contribution {
    pub(crate) factors: Arc<Factors>,
    pub(crate) action: Action,
    /// The user's strength.
    pub(crate) scale: Scale,
    /// The file that it comes from, and the strength.
    pub(crate) key: PatchKey,
    /// Lengths of the columns of the whole matrix that the parameter is a part of, `[1, columns]`, once they are known.
    pub(crate) column_lengths: Option<Tensor<2>>,
}

/// How an adapter acts on a parameter.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Rows of the change are the parameter's rows.
    Weight {
        method: Method,
        rows: Range<usize>,
        /// The file has the two halves of the parameter's rows in the other order.
        halves_swapped: bool,
        /// The parameters that the file's matrix fuses, with their rows.
        fused: Arc<[(String, Range<usize>)]>,
    },
    /// Rows of the added bias are the parameter's.
    Bias { rows: Range<usize>, halves_swapped: bool },
}

/// The contributions of all adapters to one parameter, in the order of the set.
#[derive(Debug)]
pub(crate) struct LoraPatch {
    contributions: Vec<Contribution>,
    key: Vec<PatchKey>,
}

impl LoraPatch {
    pub(crate) fn new(contributions: Vec<Contribution>) -> Self {
        Self { key: contributions.iter().map(|contribution| contribution.key).collect(), contributions }
    }
}

impl WeightPatch for LoraPatch {
    fn fused(&self, weight: Tensor<2>) -> Tensor<2> {
        self.contributions.iter().fold(weight, |weight, contribution| contribution.apply(weight))
    }

    fn low_rank(&self) -> Option<LowRank> {
        let factors: Option<Vec<_>> = self.contributions.iter().map(Contribution::low_rank).collect();
        let (ups, downs): (Vec<_>, Vec<_>) = factors?.into_iter().unzip();
        Some(LowRank { down: Tensor::cat(downs, 0), up: Tensor::cat(ups, 1) })
    }

    fn is_variable(&self) -> bool {
        self.contributions.iter().any(|contribution| matches!(contribution.scale, Scale::Variable(_)))
    }

    fn resolved(&self, read: ReadParameter) -> Result<Option<Arc<dyn WeightPatch>>, CheckpointError> {
        if !self.contributions.iter().any(Contribution::needs_other_parts) {
            return Ok(None);
        }
        let contributions =
            self.contributions.iter().map(|contribution| contribution.resolved(read)).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Self { contributions, key: self.key.clone() })))
    }

    fn key(&self) -> &[PatchKey] {
        &self.key
    }
}

impl Contribution {
    fn apply(&self, weight: Tensor<2>) -> Tensor<2> {
        match &self.action {
            Action::Bias { rows, halves_swapped } => {
                let bias = self.factors.bias.clone().expect("an adapter with a bias").narrow(0, rows.start, rows.len());
                weight + in_order(bias, *halves_swapped).mul_scalar(self.scale.get())
            }
            // A replaced parameter is not mixed with the old one, whatever the strength: as ComfyUI and diffusers do it.
            Action::Weight { method: Method::Replacement, rows, halves_swapped, .. } => {
                in_order(self.factors.rows(rows.clone()), *halves_swapped)
            }
            Action::Weight { rows, halves_swapped, .. } => {
                let change = in_order(self.factors.rows(rows.clone()), *halves_swapped).mul_scalar(self.factors.scale);
                let weight = widened(weight, change.dims()[1]);
                match &self.factors.magnitude {
                    None => weight + change.mul_scalar(self.scale.get()),
                    Some(magnitude) => {
                        let changed = weight.clone() + change;
                        let with_length = if self.is_of_columns() {
                            let lengths = self.column_lengths.clone().unwrap_or_else(|| lengths(changed.clone(), 0));
                            with_lengths(changed, magnitude.clone(), lengths)
                        } else {
                            let magnitude = in_order(magnitude.clone().narrow(0, rows.start, rows.len()), *halves_swapped);
                            let lengths = lengths(changed.clone(), 1);
                            with_lengths(changed, magnitude, lengths)
                        };
                        // Between the old weight and the new one, as ComfyUI understands strength.
                        weight.clone() + (with_length - weight).mul_scalar(self.scale.get())
                    }
                }
            }
        }
    }

    /// Whether columns get the lengths of the adapter, and not rows.
    fn is_of_columns(&self) -> bool {
        self.factors.magnitude.as_ref().is_some_and(|magnitude| magnitude.dims()[0] == 1)
    }

    /// Whether its result depends on parameters besides its own: columns reach over all parts of a fused matrix.
    fn needs_other_parts(&self) -> bool {
        let is_fused = matches!(&self.action, Action::Weight { fused, .. } if fused.len() > 1);
        is_fused && self.is_of_columns() && self.column_lengths.is_none()
    }

    /// With the lengths of columns that it needs: those that the file's weights have with this adapter alone.
    fn resolved(&self, read: ReadParameter) -> Result<Self, CheckpointError> {
        let Action::Weight { fused, .. } = &self.action else { return Ok(self.clone()) };
        if !self.needs_other_parts() {
            return Ok(self.clone());
        }
        let mut squares: Option<Tensor<2>> = None;
        for (parameter, rows) in fused.iter() {
            let change = self.factors.rows(rows.clone()).mul_scalar(self.factors.scale);
            let weight = Tensor::<2>::from_data(read(parameter)?, &change.device());
            let of_part = (weight + change).square().sum_dim(0);
            squares = Some(match squares {
                Some(sum) => sum + of_part,
                None => of_part,
            });
        }
        Ok(Self { column_lengths: squares.map(Tensor::sqrt), ..self.clone() })
    }

    fn low_rank(&self) -> Option<(Tensor<2>, Tensor<2>)> {
        let Action::Weight { method: Method::LowRank, rows, halves_swapped, .. } = &self.action else { return None };
        let (up, down) = self.factors.low_rank(rows.clone())?;
        Some((in_order(up, *halves_swapped).mul_scalar(self.factors.scale * self.scale.get()), down))
    }
}

/// Rows of a file in the order of the parameter.
fn in_order(rows: Tensor<2>, halves_swapped: bool) -> Tensor<2> {
    if !halves_swapped {
        return rows;
    }
    let [len, _] = rows.dims();
    Tensor::cat(vec![rows.clone().narrow(0, len / 2, len - len / 2), rows.narrow(0, 0, len / 2)], 0)
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
