//! What may be attached to a matrix: its values, where Burn has no tensors of their format, and an adapter.

use std::sync::{Arc, PoisonError, RwLock};

use burn::module::{Module, Reparameterization};
use burn::tensor::{FloatDType, Tensor};

use super::packed_weight::PackedWeight;
use super::weight_patch::WeightPatch;
use crate::ops::{self, LowRank};

/// What is attached to a loaded matrix. Burn allows one attachment per parameter, so this one carries both kinds.
#[derive(Module, Debug)]
pub struct AttachedWeight {
    /// The values, if they are kept packed; the parameter itself is then empty.
    pub packed: Option<PackedWeight>,
    #[module(skip)]
    pub(super) slot: AdapterSlot,
}

impl AttachedWeight {
    pub(super) fn new(packed: Option<PackedWeight>) -> Self {
        let slot = AdapterSlot { is_packed: packed.is_some(), adapter: Arc::default() };
        Self { packed, slot }
    }

    /// The adapter that is in the slot now.
    pub(super) fn adapter(&self) -> Option<Arc<Adapter>> {
        self.slot.adapter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reparameterization for AttachedWeight {
    const NAME: &'static str = "attached";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let shape = base.shape();
        let stored: FloatDType = base.dtype().into();
        let weight = match &self.packed {
            Some(packed) => packed.unpack(stored),
            None => base.reshape([shape[0], shape[1]]),
        };
        match self.adapter() {
            Some(adapter) => adapter.widened(weight, stored).reshape(shape),
            None => weight.reshape(shape),
        }
    }
}

/// Where an adapter of one matrix is put and taken away while the network stays loaded. Clones are the same slot.
#[derive(Clone, Debug)]
pub(super) struct AdapterSlot {
    /// Whether the matrix is packed, so that nothing can be fused with it.
    pub(super) is_packed: bool,
    adapter: Arc<RwLock<Option<Arc<Adapter>>>>,
}

impl AdapterSlot {
    pub(super) fn set(&self, patch: Option<&Arc<dyn WeightPatch>>) {
        let adapter = patch.map(|patch| Arc::new(Adapter::of(patch.clone())));
        *self.adapter.write().unwrap_or_else(PoisonError::into_inner) = adapter;
    }
}

/// A patch that is computed where the weight is used.
#[derive(Debug)]
pub(super) enum Adapter {
    /// Two narrow products beside the wide one.
    LowRank(Box<LowRank>),
    /// One that may be another whenever it is used, or that is done to the weight itself.
    Other(Arc<dyn WeightPatch>),
}

impl Adapter {
    fn of(patch: Arc<dyn WeightPatch>) -> Self {
        match patch.low_rank().filter(|_| !patch.is_variable()) {
            Some(low_rank) => Self::LowRank(Box::new(low_rank)),
            None => Self::Other(patch),
        }
    }

    /// The two narrow products of now, if it is such.
    pub(super) fn low_rank(&self) -> Option<LowRank> {
        match self {
            Self::LowRank(low_rank) => Some(LowRank::clone(low_rank)),
            Self::Other(patch) => patch.low_rank(),
        }
    }

    /// The patched weight, in the type `dtype`.
    pub(super) fn widened(&self, weight: Tensor<2>, dtype: FloatDType) -> Tensor<2> {
        let weight = ops::cast(weight, FloatDType::F32);
        let patched = match self {
            Self::LowRank(low_rank) => weight + low_rank.up.clone().matmul(low_rank.down.clone()),
            Self::Other(patch) => patch.fused(weight),
        };
        ops::cast(patched, dtype)
    }
}
