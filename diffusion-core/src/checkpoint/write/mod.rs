//! Writing checkpoints: safetensors or GGUF, one tensor after the other, the whole file or nothing.
//!
//! [`convert`] writes a checkpoint in another format; [`CheckpointWriter`] writes tensors from anywhere.

mod about;
mod container;
mod convert;
mod error;
mod kept_entries;
mod target;
mod writer;

pub use about::About;
pub use container::{Container, TensorSpec};
pub use convert::{Conversion, ConversionRules, Progress, convert};
pub use error::WriteError;
pub use target::Target;
pub use writer::CheckpointWriter;
