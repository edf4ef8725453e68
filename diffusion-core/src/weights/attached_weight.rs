//! What may be attached to a matrix: its values, where Burn has no tensors of their format, an adapter, and factors to train.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError, RwLock};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Reparameterization};
use burn::tensor::{Device, FloatDType, Tensor};

use super::low_rank_factors::LowRankFactors;
use super::packed_weight::PackedWeight;
use super::weight_patch::WeightPatch;
use crate::ops::{self, LowRank, Products};

/// What is attached to a loaded matrix. Burn allows one attachment per parameter, so this one carries all kinds.
#[derive(Clone, Debug)]
pub struct AttachedWeight {
    /// The values, if they are kept packed; the parameter itself is then a single number that nobody reads.
    pub packed: Option<PackedWeight>,
    /// Low-rank factors that are trained; see [`with_factors`](super::with_factors).
    pub factors: Option<LowRankFactors>,
    /// How exactly products with the matrix are computed.
    pub(super) products: Products,
    pub(super) slot: AdapterSlot,
}

impl AttachedWeight {
    pub(super) fn new(packed: Option<PackedWeight>, products: Products) -> Self {
        let slot = AdapterSlot { is_packed: packed.is_some(), adapter: Arc::default() };
        Self { packed, factors: None, products, slot }
    }

    /// The adapter that is in the slot now.
    pub(super) fn adapter(&self) -> Option<Arc<Adapter>> {
        self.slot.adapter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// As `#[derive(Module)]` would have it, but that walks of `attachments` may meet the attachment itself.
impl Module for AttachedWeight {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.factors.collect_devices(self.packed.collect_devices(devices))
    }

    fn to_device(self, device: &Device) -> Self {
        Self { packed: self.packed.to_device(device), factors: self.factors.to_device(device), ..self }
    }

    fn fork(self, device: &Device) -> Self {
        Self { packed: self.packed.fork(device), factors: self.factors.fork(device), ..self }
    }

    fn train(self) -> Self {
        Self { packed: self.packed.train(), factors: self.factors.train(), ..self }
    }

    fn valid(&self) -> Self {
        Self { packed: self.packed.valid(), factors: self.factors.valid(), products: self.products, slot: self.slot.clone() }
    }

    fn materialize(self) -> Self {
        Self { packed: self.packed.materialize(), factors: self.factors.materialize(), ..self }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        if self.show() {
            return;
        }
        visitor.enter_module("packed", "PackedWeight");
        self.packed.visit(visitor);
        visitor.exit_module("packed", "PackedWeight");
        visitor.enter_module("factors", "LowRankFactors");
        self.factors.visit(visitor);
        visitor.exit_module("factors", "LowRankFactors");
    }

    fn map<M: ModuleMapper>(mut self, mapper: &mut M) -> Self {
        if self.exchange() {
            return self;
        }
        let Self { packed, factors, products, slot } = self;
        mapper.enter_module("packed", "PackedWeight");
        let packed = Module::map(packed, mapper);
        mapper.exit_module("packed", "PackedWeight");
        mapper.enter_module("factors", "LowRankFactors");
        let factors = Module::map(factors, mapper);
        mapper.exit_module("factors", "LowRankFactors");
        Self { packed, factors, products, slot }
    }
}

/// What a walk of `attachments` wants of the attachment that it comes by next.
pub(super) enum Wish {
    /// To be passed like any other module: the walk is one of Burn's.
    Nothing,
    /// To see it.
    See,
    /// It showed itself.
    Seen(AttachedWeight),
    /// That it takes these factors, or that it has none.
    Take { factors: Option<LowRankFactors>, shape: Vec<usize> },
    /// It did not take them: its matrix has this shape.
    Refused { expected: [usize; 2], found: [usize; 2] },
}

thread_local! {
    /// Walks and attachments have no other way to meet: Burn's traits are between them.
    pub(super) static WISH: RefCell<Wish> = const { RefCell::new(Wish::Nothing) };
}

impl AttachedWeight {
    /// Whether the walk that comes by wanted to see this attachment, and has.
    fn show(&self) -> bool {
        WISH.with_borrow_mut(|wish| {
            let is_wanted = matches!(wish, Wish::See);
            if is_wanted {
                *wish = Wish::Seen(Self { slot: self.slot.handle(), ..self.clone() });
            }
            is_wanted
        })
    }

    /// Whether the walk that comes by brought factors, or the wish that there are none, and they are exchanged now.
    fn exchange(&mut self) -> bool {
        WISH.with_borrow_mut(|wish| {
            let Wish::Take { factors, shape } = wish else { return false };
            let expected = self.packed.as_ref().map_or_else(|| [shape[0], shape[1]], PackedWeight::shape);
            self.factors = factors.take();
            *wish = match self.factors.as_ref().map(LowRankFactors::shape) {
                Some(found) if found != expected => Wish::Refused { expected, found },
                _ => Wish::Nothing,
            };
            true
        })
    }
}

impl Reparameterization for AttachedWeight {
    const NAME: &'static str = "attached";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let stored: FloatDType = base.dtype().into();
        let shape = base.shape();
        let weight = match &self.packed {
            Some(packed) => packed.unpack(stored),
            None => base.reshape([shape[0], shape[1]]),
        };
        let weight = match self.adapter() {
            Some(adapter) => adapter.widened(weight, stored),
            None => weight,
        };
        let weight = match &self.factors {
            Some(factors) => ops::cast(ops::cast(weight, FloatDType::F32) + factors.product(), stored),
            None => weight,
        };
        let shape = weight.shape();
        weight.reshape(shape)
    }
}

/// Where an adapter of one matrix is put and taken away while the network stays loaded.
#[derive(Debug)]
pub(super) struct AdapterSlot {
    /// Whether the matrix is packed, so that nothing can be fused with it.
    pub(super) is_packed: bool,
    adapter: Arc<RwLock<Option<Arc<Adapter>>>>,
}

/// A clone of a network has slots of its own, with the adapters that were in these.
impl Clone for AdapterSlot {
    fn clone(&self) -> Self {
        let adapter = self.adapter.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { is_packed: self.is_packed, adapter: Arc::new(RwLock::new(adapter)) }
    }
}

impl AdapterSlot {
    /// This slot, and no other.
    pub(super) fn handle(&self) -> Self {
        Self { is_packed: self.is_packed, adapter: self.adapter.clone() }
    }

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

    /// [`WeightPatch::is_watched`].
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Self::Other(patch) if patch.is_watched())
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
