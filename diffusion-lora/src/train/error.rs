//! Why a step of training fails.

use std::error::Error;

use diffusion_core::checkpoint::CheckpointError;
use thiserror::Error;

/// Why a step of training fails. The trainer is as it was before the step.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The network's file cannot be read any more.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no batch.
    #[error("step {step}: {source}")]
    Batch {
        /// The step, from 1.
        step: usize,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Text encoders are trained, and captions were encoded without them.
    #[error("step {step}: the captions of a batch were not encoded with the text encoders that are trained")]
    NotEncoded {
        /// The step, from 1.
        step: usize,
    },
    /// The loss, or a gradient, is not finite.
    #[error("step {step}: the {what} is not finite; its pictures: {}", pictures.join(", "))]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// What is not finite.
        what: &'static str,
        /// Pictures of the step.
        pictures: Vec<String>,
    },
}
