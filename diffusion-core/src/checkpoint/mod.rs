//! Checkpoint files: memory-mapped, lazy, strict. They end at bytes, formats, shapes and names; [`weights`](crate::weights)
//! makes parameters of them.
//!
//! [`Checkpoint::open`] reads only headers. [`Checkpoint::renamed`] applies the [`KeyMap`] of a layout. [`write`](mod@write)
//! goes the other way.

mod arrangement;
#[expect(clippy::module_inception, reason = "it is the concept of this folder")]
mod checkpoint;
mod comfy_quant;
mod error;
mod folder;
mod gguf;
mod key_map;
mod layout;
mod mapped_file;
mod open;
mod other_kinds;
mod published_names;
mod quantised;
mod safetensors_file;
mod scaled_fp8;
mod shards;
mod stored_tensor;
pub mod write;

pub use arrangement::Arrangement;
pub use checkpoint::Checkpoint;
pub use error::{CheckpointError, Mismatch};
pub use gguf::problem::GgufProblem;
pub use key_map::KeyMap;
pub use layout::Layout;
pub use published_names::{PublishedNames, PublishedPart, PublishedTensor};
pub use stored_tensor::StoredTensor;
