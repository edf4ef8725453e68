//! What can go wrong between a prompt and an image.

use std::path::PathBuf;

use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::weights::ComponentId;
use diffusion_core::{SampleError, ScheduleError, SettingError};
use diffusion_schedulers::kind::KindError;

use crate::prompt_store::PromptStoreError;
use crate::tokenizer::TokenizerError;
use diffusion_core::config::ConfigError;

/// Why a pipeline cannot be made or cannot draw.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A checkpoint does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A configuration does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tokenizer does not fit, or cannot encode.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The noise schedule has no such run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The sampler or schedule does not suit the model.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// Encoded texts cannot be kept.
    #[error(transparent)]
    PromptStore(#[from] PromptStoreError),
    /// The run was cancelled after a step, or the sampler failed.
    #[error(transparent)]
    Sample(SampleError),
    /// A file or folder holds another model than the one asked for.
    #[error("{} holds {found}, expected {expected}", path.display())]
    OtherModel {
        /// The file or folder.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A folder is no diffusers pipeline.
    #[error("{} has no model_index.json; give a diffusers folder that has one, or a single .safetensors file", path.display())]
    NoModelIndex {
        /// The folder.
        path: PathBuf,
    },
    /// A component of the model is in none of the files.
    #[error("{} holds {}; give a file or folder for {}", path.display(), none_of(any_of), if any_of.len() == 1 { "it" } else { "one of them" })]
    MissingComponent {
        /// The file or folder that was given for the model.
        path: PathBuf,
        /// The components, of which one suffices.
        any_of: Vec<ComponentId>,
    },
    /// A tiny autoencoder decodes only.
    #[error("{} is a tiny autoencoder without encoder; starting from an image needs the model's own autoencoder", path.display())]
    NoImageEncoder {
        /// The file.
        path: PathBuf,
    },
    /// The model's files have no tokenizer, and neither has this build.
    #[error(
        "the files of the model have no tokenizer for {component}, and this build carries none; give a diffusers folder with tokenizers as configuration"
    )]
    NoTokenizer {
        /// The text encoder.
        component: ComponentId,
    },
    /// The observer cancelled, elsewhere than after a step.
    #[error("cancelled while {during}")]
    Cancelled {
        /// What was being done.
        during: &'static str,
    },
    /// A single file has tensors that belong to no component of the model.
    #[error("{}: {} tensors belong to no component of the model: {}", path.display(), names.len(), names[..names.len().min(5)].join(", "))]
    UnknownTensors {
        /// The file.
        path: PathBuf,
        /// Names of the tensors.
        names: Vec<String>,
    },
    /// An image of this size cannot be drawn.
    #[error("an image of {width} x {height} pixels cannot be drawn: {reason}")]
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// What the sides have to be.
        reason: String,
    },
    /// A mask does not lie on its image.
    #[error("the mask is {} x {} pixels, its image {} x {}; give them the same size", found.0, found.1, expected.0, expected.1)]
    MaskSize {
        /// Width and height of the mask.
        found: (usize, usize),
        /// Width and height of the image.
        expected: (usize, usize),
    },
    /// A setting is outside its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The network gave infinite or undefined numbers.
    #[error(
        "{place} is not finite in step {} of {num_steps}, the image would be black; compute in f32, and check the checkpoint against its published checksum",
        index + 1
    )]
    NotFinite {
        /// The first block, or other result, where it shows.
        place: String,
        /// Index of the step, from 0.
        index: usize,
        /// Number of steps of the run.
        num_steps: usize,
    },
}

impl PipelineError {
    /// Whether the observer cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. } | Self::Sample(SampleError::Cancelled { .. }))
    }

    /// An [`OtherModel`](Self::OtherModel) of a known kind.
    pub(crate) fn other_model(path: &std::path::Path, expected: impl ToString, found: impl ToString) -> Self {
        Self::OtherModel { path: path.to_owned(), expected: expected.to_string(), found: found.to_string() }
    }

    /// A [`Setting`](Self::Setting) outside its range.
    pub(crate) fn setting(setting: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Setting(SettingError::new(setting, expected, found))
    }
}

impl From<SampleError> for PipelineError {
    /// What the velocity failed with is an error of the pipeline again.
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Velocity(error) => match error.downcast() {
                Ok(own) => *own,
                Err(other) => Self::Sample(SampleError::Velocity(other)),
            },
            other => Self::Sample(other),
        }
    }
}

fn none_of(components: &[ComponentId]) -> String {
    match components {
        [one] => format!("no {one}"),
        several => format!("none of {}", several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
