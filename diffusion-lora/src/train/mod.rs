//! Training adapters of one's own, for any network of blocks.

mod adapter;
mod batch;
mod loss;
mod random;
mod start;
mod targets;

pub use adapter::{Method, Part, TrainedAdapter};
pub use batch::{Batch, Batches};
pub use loss::Loss;
pub use random::TrainingRandom;
pub use start::adapters_of;
pub use targets::{ParseTargetsError, TargetLayer, Targets, trainable_layers};
