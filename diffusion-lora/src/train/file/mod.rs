//! Files of trained adapters, spelled so that other programs read them.

mod error;
mod fused;
mod matrix;
mod naming;
mod notes;
mod peft_entry;
mod published;
mod spelling;
mod trained_module;
mod write;

pub use error::TrainedLoraError;
pub use notes::TrainingNotes;
pub use spelling::LoraSpelling;
pub use trained_module::{KroneckerFactor, TrainedFactors, TrainedModule};
pub use write::{FactorFormat, TrainedLora};
