//! Why a checkpoint cannot be written.

use std::path::PathBuf;

use super::container::Container;
use super::target::Target;
use crate::checkpoint::error::CheckpointError;
use crate::files::{OneLine, Shown};
use crate::format::Format;

/// Why a checkpoint cannot be written. Every variant names the file; nothing half-written remains.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be created or written.
    #[error("cannot write {}; check that its folder exists, may be written to and has room", OneLine(path.display()))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The name does not tell what kind of file is meant.
    #[error("{} does not end in .safetensors or .gguf; name the output so that its kind is clear", OneLine(path.display()))]
    UnknownContainer {
        /// The file.
        path: PathBuf,
    },
    /// Weights of this kind are not stored in this kind of file.
    #[error("{} is to be a {container} file, which holds no weights as {target}; name it .{}", OneLine(path.display()), other.extension())]
    Target {
        /// The file.
        path: PathBuf,
        /// Its kind.
        container: Container,
        /// What was asked for.
        target: Target,
        /// The kind of file that does hold such weights.
        other: Container,
    },
    /// A tensor cannot be stored in this kind of file.
    #[error("{}: tensor {} of shape {shape:?} as {format} does not fit into a {container} file", OneLine(path.display()), Shown(tensor))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its format.
        format: Format,
        /// The kind of file.
        container: Container,
    },
    /// Two tensors have the same name.
    #[error("{}: tensor {} is to be written twice; a name can be used once", OneLine(path.display()), Shown(tensor))]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has other bytes than announced.
    #[error("{}: tensor {} has {found} bytes, expected {expected}", OneLine(path.display()), Shown(tensor))]
    Length {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Bytes that its shape and format take.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// Another number of tensors is written than was announced.
    #[error("{}: {found} tensors were written, expected {expected}", OneLine(path.display()))]
    Count {
        /// The file.
        path: PathBuf,
        /// Tensors that were announced.
        expected: usize,
        /// Tensors that were written.
        found: usize,
    },
    /// The new format cannot hold a number of a tensor.
    #[error(
        "{}: tensor {} holds {value:e}, but {format} ends at {largest:e}; choose a format of wider range",
        OneLine(path.display()), Shown(tensor)
    )]
    Range {
        /// The file that is read.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The new format.
        format: Format,
        /// The number.
        value: f32,
        /// The largest number of the format.
        largest: f32,
    },
    /// The file holds a model that is not known well enough to be converted.
    #[error(
        "{} holds {found}; convert it with a program that draws with it",
        OneLine(path.display())
    )]
    OtherModel {
        /// The file that is read.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// The tensors cannot be read.
    #[error(transparent)]
    Source(#[from] CheckpointError),
}
