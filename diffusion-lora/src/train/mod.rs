//! Training adapters of one's own, for any network of blocks.

mod batch;
mod random;

pub use batch::{Batch, Batches};
pub use random::TrainingRandom;
