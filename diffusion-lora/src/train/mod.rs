//! Training adapters of one's own, for any network of blocks.

mod batch;

pub use batch::{Batch, Batches};
