//! What can go wrong between a prompt and a picture.

use std::path::PathBuf;

use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::{SampleError, ScheduleError};

use diffusion_schedulers::kind::KindError;

use crate::config::ConfigError;
use crate::detect::ModelKind;
use crate::tokenizer::TokenizerError;

/// Why a pipeline cannot be made or cannot draw.
#[derive(Debug, thiserror::Error)]
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
    /// The run was cancelled.
    #[error(transparent)]
    Sample(#[from] SampleError),
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
    /// A part of the model is in none of the files.
    #[error("{} holds no {part}; give one with {option}", path.display())]
    MissingPart {
        /// The file or folder that was given for the model.
        path: PathBuf,
        /// The part.
        part: &'static str,
        /// The option of `txt2img` that supplies it, and its field in the library.
        option: &'static str,
    },
    /// A single file has tensors that belong to no part of the model.
    #[error("{}: {} tensors belong to no part of the model: {}", path.display(), names.len(), names[..names.len().min(5)].join(", "))]
    UnknownTensors {
        /// The file.
        path: PathBuf,
        /// Names of the tensors.
        names: Vec<String>,
    },
    /// A picture of this size cannot be drawn.
    #[error("a picture of {width} x {height} pixels cannot be drawn: {reason}")]
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// What the sides have to be.
        reason: String,
    },
    /// A mask does not lie on its picture.
    #[error("the mask is {} x {} pixels, its picture {} x {}; give them the same size", found.0, found.1, expected.0, expected.1)]
    MaskSize {
        /// Width and height of the mask.
        found: (usize, usize),
        /// Width and height of the picture.
        expected: (usize, usize),
    },
    /// A setting is outside its range.
    #[error("{setting} is {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The network gave infinite or undefined numbers.
    #[error(
        "{place} is not finite in step {} of {num_steps}, the picture would be black; compute in f32 (--precision f32), and check the checkpoint against its published checksum",
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
    /// An [`OtherModel`](Self::OtherModel) of a known kind.
    pub(crate) fn other_model(path: &std::path::Path, expected: impl ToString, found: ModelKind) -> Self {
        Self::OtherModel { path: path.to_owned(), expected: expected.to_string(), found: found.to_string() }
    }

    /// A [`Setting`](Self::Setting) outside its range.
    pub(crate) fn setting(setting: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Setting { setting, expected: expected.to_string(), found: found.to_string() }
    }
}
