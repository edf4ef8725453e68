//! Weights: from the tensors of a [`Checkpoint`](crate::checkpoint::Checkpoint) to the parameters of a module, which stay as
//! narrow as they are stored, may be read block by block, and can be patched and restored while the network is loaded.

mod attached_weight;
mod attachments;
mod component;
mod loaded_weights;
mod loader;
mod loading;
mod low_rank_factors;
mod packed_weight;
mod parameter;
mod placement;
mod precision;
mod projection;
mod residency;
mod stored_weight;
mod token_embedding;
#[cfg(feature = "autodiff")]
mod trained_parameter;
mod weight_patch;

pub use attached_weight::AttachedWeight;
pub use attachments::{FactorsError, factors_of, with_factors};
pub use component::{ComponentId, ComponentPatches, PatchTarget, PatchWeights};
pub use loaded_weights::{LoadedNetwork, LoadedWeights};
pub use loader::{check, load_into};
pub use loading::{LoadProgress, Loading};
pub use low_rank_factors::LowRankFactors;
pub use packed_weight::PackedWeight;
pub use parameter::{parameter_shapes, uninitialized};
pub use placement::{ComponentPlace, Placement};
pub use precision::{Precision, Products, Storage};
pub use projection::{Projection, ProjectionConfig};
pub use residency::Residency;
pub use token_embedding::TokenEmbedding;
#[cfg(feature = "autodiff")]
pub use trained_parameter::{RecordedUses, TrainedParameter};
pub use weight_patch::{PatchKey, PatchMode, PatchStrength, ReadParameter, WeightPatch, WeightPatches};
