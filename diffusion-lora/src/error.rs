//! What can be wrong with a LoRA. Every message tells a newcomer what to do.

use std::path::PathBuf;

use diffusion_core::checkpoint::CheckpointError;

use crate::report::Report;

/// Why a LoRA cannot be used. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// The file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file is something else.
    #[error("{} is no LoRA: it holds {found}", path.display())]
    NotALora {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// The adapter's settings, beside the file or in its header, cannot be understood.
    #[error("{} has adapter settings that cannot be read: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// An adapter is of a kind that is not read.
    #[error(
        "{} has adapters of the kind {kind}, {module} for one, which are not read; LoRA, LoCon, LoHa, LoKr, DoRA and differences are",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: &'static str,
        /// One of the modules, as the file spells it.
        module: String,
    },
    /// An adapter has some of its tensors, but not all.
    #[error("{} has a part of {module} only: {missing} is missing; download the file again, or ask its author", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The module, as the file spells it.
        module: String,
        /// What is missing.
        missing: &'static str,
    },
    /// A tensor of an adapter has an impossible shape.
    #[error("{}: {tensor} has the shape {found:?}, expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: Vec<usize>,
    },
    /// A tensor holds a number that is not finite.
    #[error("{}: {tensor} holds {value}, which would spoil every image; the training that made this file diverged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The first such number.
        value: f32,
    },
    /// The adapters do not fit the model.
    #[error("{} does not fit {}{report}", report.path.display(), report.model_sentence())]
    DoesNotFit {
        /// What fits, and what does not.
        report: Box<Report>,
    },
    /// A strength is no finite number.
    #[error("the strength of {} must be a finite number, found {strength}", path.display())]
    Strength {
        /// The file.
        path: PathBuf,
        /// The strength.
        strength: f64,
    },
    /// A control LoRA makes a model of another kind, which takes a control image.
    #[error(
        "{} is a control LoRA: it widens {module} for a control image, and this pipeline draws from a prompt alone",
        path.display()
    )]
    Control {
        /// The file.
        path: PathBuf,
        /// The widened module.
        module: String,
    },
}

/// Why a pipeline could not take a set of LoRAs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetLorasError<E: std::error::Error + 'static> {
    /// One of them cannot be used; the pipeline is as it was.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The pipeline's own files cannot be read any more.
    #[error(transparent)]
    Pipeline(E),
}
