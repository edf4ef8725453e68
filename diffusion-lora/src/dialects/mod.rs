//! How LoRA files spell the modules that they patch, as tables.

mod dialect;
mod made_for;
mod module_name;
mod network;
mod prefix;

pub use dialect::Dialect;
pub(crate) use made_for::made_for;
pub(crate) use module_name::{ModuleName, ModuleRows};
pub(crate) use network::{Spelling, TRANSFORMER};
