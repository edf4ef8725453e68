//! Why a job was not drawn.

use diffusion_models::PipelineError;

use crate::jobs::JobError;
use crate::refusal::Causes;

/// Why a job was not drawn.
pub(super) enum DrawError {
    /// Somebody asked to stop.
    Cancelled,
    /// It cannot be drawn.
    Failed(JobError),
}

impl DrawError {
    pub(super) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(JobError::new(code, message))
    }
}

impl From<PipelineError> for DrawError {
    fn from(error: PipelineError) -> Self {
        if error.is_cancelled() { Self::Cancelled } else { Self::failed("drawing", Causes(&error).to_string()) }
    }
}
