//! What a step cache did.

use burn::tensor::{DType, Tensor};

/// How often the network was evaluated in a run, and what a step cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCacheReport {
    /// Evaluations of the network.
    pub evaluations: usize,
    /// How many of them were taken, but for a block or wholly, from earlier ones.
    pub reused: usize,
    /// The largest relative change that was let pass: of what the first block adds, or of the whole velocity as expected.
    pub largest_change: f64,
}

impl StepCacheReport {
    /// Count an evaluation that was taken from the cache.
    pub(super) fn reuse(&mut self, change: f64) {
        self.reused += 1;
        self.largest_change = self.largest_change.max(change);
    }

    /// The two together.
    pub fn and(self, other: Self) -> Self {
        Self {
            evaluations: self.evaluations + other.evaluations,
            reused: self.reused + other.reused,
            largest_change: self.largest_change.max(other.largest_change),
        }
    }
}

/// The mean of the absolute values.
pub(super) fn magnitude<const D: usize>(x: Tensor<D>) -> f64 {
    f64::from(x.cast(DType::F32).abs().mean().into_scalar::<f32>())
}
