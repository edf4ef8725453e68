//! Low-rank adapters and their kin, in the dialects that people publish: read, reported, and applied to a model that knows
//! nothing of them.
//!
//! A [`Lora`] is a file. A [`LoraSet`] is files with strengths. [`SetLoras::set_loras`] makes a pipeline draw with a set, in
//! place of the one before, and touches only the weights that change. It returns a [`Report`] per file, and refuses a file
//! that does not fit to the last tensor: a LoRA that silently does nothing is what this crate is against.
//!
//! ```no_run
//! # fn draw<P: diffusion_core::weights::PatchWeights<Error = E>, E: std::error::Error + 'static>(pipeline: &mut P)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use diffusion_lora::{Lora, LoraSet, SetLoras};
//!
//! let realism = Lora::open("realism_lora.safetensors".as_ref())?;
//! for report in pipeline.set_loras(&LoraSet::new().with(&realism, 0.8))? {
//!     println!("{report}");
//! }
//! pipeline.set_loras(&LoraSet::new())?; // Every weight is that of the file again, to the bit.
//! # Ok(())
//! # }
//! ```
//!
//! A file says which modules it changes by names: those of the original release or of diffusers, dotted or with underscores.
//! [`dialects`] has the spellings as tables, and the model's own key maps say what a name means, so that a LoRA of either
//! layout fits a checkpoint of either layout.

pub mod dialects;
mod error;
mod factors;
mod lora;
mod lora_set;
mod metadata;
mod patch;
mod report;
mod resolve;
mod strength;
mod tensor_role;

pub use error::{LoraError, SetLorasError};
pub use lora::Lora;
pub use lora_set::{LoraSet, SetLoras};
pub use report::{Mismatched, Report, Unexpected};
pub use strength::Strength;
