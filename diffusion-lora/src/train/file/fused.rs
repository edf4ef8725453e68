//! One low-rank adapter for a matrix, from those of its parts.

use diffusion_core::checkpoint::PublishedPart;

use super::matrix::Matrix;
use super::published::PublishedModule;
use super::trained_module::{TrainedFactors, TrainedModule};

/// A low-rank adapter of a matrix of a file.
#[derive(Debug, PartialEq)]
pub(super) struct LowRankValues {
    /// `[rank, columns]`.
    pub(super) down: Matrix,
    /// `[rows, rank]`.
    pub(super) up: Matrix,
    /// `[rows, 1]`.
    pub(super) magnitude: Option<Matrix>,
    pub(super) rank: usize,
    pub(super) alpha: f64,
}

/// Magnitudes of some rows are there, and of others not.
#[derive(Debug)]
pub(super) struct PartOfMagnitude;

impl PublishedModule<'_> {
    /// The adapter of the whole matrix. If that is fused, the first factors of the parts lie below each other, and the second ones
    /// are blocks of a matrix that is zero elsewhere: nothing is lost, and ranks add up.
    ///
    /// Reference: kohya-ss/sd-scripts `networks/convert_flux_lora.py#L140-L170` at 48d368f.
    pub(super) fn low_rank(&self) -> Result<LowRankValues, PartOfMagnitude> {
        let factors = self.parts.iter().filter_map(|(part, module)| Some((*part, module.scale(), factors(module)?)));
        let factors: Vec<(usize, f64, LowRankValues)> = factors.collect();
        let first_row = |part: usize| self.tensor.parts[..part].iter().map(PublishedPart::rows).sum();
        let rows = first_row(self.tensor.parts.len());
        let rank = factors.iter().map(|(.., values)| values.rank).sum();
        // One alpha holds for all, if their scales are one.
        let is_one = factors.iter().all(|(_, scale, _)| *scale == factors[0].1);
        let alpha = if is_one { factors.iter().map(|(.., values)| values.alpha).sum() } else { rank as f64 };
        let mut up = Matrix::zeros(rows, rank);
        let (mut downs, mut magnitudes) = (Vec::new(), Vec::new());
        let mut column = 0;
        for (part, scale, values) in factors {
            let block = if is_one { values.up } else { values.up.scaled(scale) };
            up.put(&block, first_row(part), column);
            column += values.rank;
            downs.push(values.down);
            magnitudes.extend(values.magnitude);
        }
        let magnitude = match magnitudes.len() {
            0 => None,
            len if len == self.tensor.parts.len() => Some(Matrix::stacked(magnitudes)),
            _ => return Err(PartOfMagnitude),
        };
        let arrangement = self.tensor.arrangement;
        let magnitude = magnitude.map(|magnitude| magnitude.arranged(arrangement));
        Ok(LowRankValues { down: Matrix::stacked(downs), up: up.arranged(arrangement), magnitude, rank, alpha })
    }
}

fn factors(module: &TrainedModule) -> Option<LowRankValues> {
    let TrainedFactors::LowRank { down, up, magnitude } = &module.factors else { return None };
    let magnitude = magnitude.as_ref().map(Matrix::read);
    let (down, up) = (Matrix::read(down), Matrix::read(up));
    Some(LowRankValues { down, up, magnitude, rank: module.rank, alpha: module.alpha })
}
