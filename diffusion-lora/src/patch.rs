//! What several adapters together make of one parameter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use burn::tensor::Tensor;
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::ops::LowRank;
use diffusion_core::weights::{PatchKey, ReadParameter, WeightPatch};

use crate::contribution::Contribution;

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
        self.contributions.iter().any(Contribution::is_variable)
    }

    fn resolved(&self, read: ReadParameter) -> Result<Option<Arc<dyn WeightPatch>>, CheckpointError> {
        if !self.contributions.iter().any(Contribution::is_unresolved) {
            return Ok(None);
        }
        let contributions =
            self.contributions.iter().map(|contribution| contribution.resolved(read)).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Self { contributions, key: self.key.clone() })))
    }

    fn identify(&self, mut state: &mut dyn Hasher) -> Option<()> {
        self.contributions.len().hash(&mut state);
        self.contributions.iter().try_for_each(|contribution| contribution.identify(state))
    }

    fn key(&self) -> &[PatchKey] {
        &self.key
    }
}
