//! A layer of a block that makes modulations of the conditioning.

use burn::tensor::Tensor;

use crate::checkpoint::CheckpointError;
use crate::weights::{LoadedWeights, Projection};

/// A layer of a block that makes modulations of the conditioning, in its network.
pub(super) struct ModulationLayer<'a> {
    /// Prefix of its parameters.
    pub(super) path: String,
    /// The layer; without weights if they are not kept.
    pub(super) projection: &'a Projection,
    /// Those of its network, if that was loaded.
    pub(super) weights: Option<&'a LoadedWeights>,
}

impl ModulationLayer<'_> {
    /// Width of what it gives.
    pub(super) fn output_size(&self) -> usize {
        let stored = self.weights.and_then(|weights| weights.shape(&format!("{}weight", self.path)));
        stored.map_or_else(|| self.projection.weight.lazy_shape().dims::<2>()[0], |shape| shape[0])
    }

    /// Whether a patch of it may be another from one use to the next.
    pub(super) fn is_variable(&self) -> bool {
        self.weights.is_some_and(|weights| weights.patches().under(&self.path).is_variable())
    }

    /// What it gives. The parameters under `next` are read after its own.
    ///
    /// # Shapes
    /// - conditioning: `[rows, hidden_size]`, result: `[rows, output_size]`
    /// # Errors
    /// [`CheckpointError`] if the network's file was written to since it was opened.
    pub(super) fn forward(&self, conditioning: Tensor<2>, next: &str) -> Result<Tensor<2>, CheckpointError> {
        match self.weights.filter(|weights| !weights.is_kept(&self.path)) {
            Some(weights) => weights
                .with_block(&self.path, next, self.projection.clone(), |projection| projection.forward_exactly(conditioning)),
            None => Ok(self.projection.forward_exactly(conditioning)),
        }
    }
}
