//! What can go wrong with encoded texts on disk.

use std::io;
use std::path::PathBuf;

use diffusion_core::files::Shown;

/// Why encoded texts could not be kept, or a kept one not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptStoreError {
    /// The folder cannot be made or written.
    #[error("cannot keep encoded prompts in {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read the encoded prompt {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot keep the encoded prompt {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is damaged, or another than its name says.
    #[error("{} is no undamaged encoded prompt: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An encoded text is nothing to keep.
    #[error("the encoded prompt \"{}\" has numbers that are not finite, or takes more room than there is", Shown(text))]
    NotKept {
        /// The text.
        text: String,
    },
    /// What patches the text encoders could not be told from other patches later.
    #[error("the text encoders have adapters that could not be told from others later, so that encoded prompts cannot be kept")]
    Untold,
}
