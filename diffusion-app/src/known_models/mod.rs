//! Models by short names: what they consist of, where their files are published, and under which licence.
//!
//! The data is in `table.rs`. A model of it is a name for repositories; whoever fetches them does so under their own licences.

mod find;
mod known_model;
mod list;
mod table;

pub use find::{UnknownName, find};
pub use known_model::{Access, KnownModel, KnownPart, KnownVariant};
pub use list::list;
pub use table::KNOWN_MODELS;
