//! What the benchmarks share: parts of a generation as a table of [`CASES`], made at published widths from files of random
//! weights.

mod build;
mod case;
mod operations;
mod random_checkpoint;
mod setting;
mod sizes;
mod training;

pub use case::{CASES, Case};
pub use random_checkpoint::RandomCheckpoint;
pub use setting::{Products, Running, Setting};
