//! Why an image could not be written.

use std::path::PathBuf;

use crate::output::WriteError;

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFileError {
    /// The extension names no format that is written.
    #[error("cannot tell the format of {} from its name; end it in .png, .jpg, .jpeg or .webp", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The format has no room for such an image or its settings.
    #[error("{} cannot be written: {problem}; write a .png", path.display())]
    Room {
        /// The file.
        path: PathBuf,
        /// What there is no room for.
        problem: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
