//! Why there is nothing to learn from.

use std::io;
use std::path::PathBuf;

use diffusion_core::SettingError;
use diffusion_models::PipelineError;

use super::bucket::Bucket;
use super::folder_problems::FolderProblems;
use crate::image_file::ReadImageError;
use crate::output::WriteError;

/// Why pictures and captions cannot be learnt from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting is outside its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A folder cannot be listed.
    #[error("cannot read the folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something is wrong with a folder of pictures.
    #[error(transparent)]
    Problems(#[from] FolderProblems),
    /// No class picture can go beside pictures of a bucket.
    #[error("no class picture has {bucket} pixels or more, which some pictures are brought to; add a larger one to {}", folder.display())]
    NoClassPicture {
        /// The folder of class pictures.
        folder: PathBuf,
        /// The bucket of the pictures.
        bucket: Bucket,
    },
    /// A picture cannot be read any more.
    #[error(transparent)]
    Picture(#[from] ReadImageError),
    /// A picture was replaced since it was checked.
    #[error("{} was written to since it was looked at; begin again", path.display())]
    Changed {
        /// The picture.
        path: PathBuf,
    },
    /// A model cannot encode pictures or captions.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The latents of a picture are not finite.
    #[error("the autoencoder gives numbers for {} that are not finite; compute in f32, and check the file of the autoencoder", path.display())]
    NotFinite {
        /// The picture.
        path: PathBuf,
    },
    /// The folder of what is encoded cannot be made.
    #[error("cannot keep encoded pictures in {}", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// What is encoded cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The observer cancelled.
    #[error("cancelled while {during}")]
    Cancelled {
        /// What was being done.
        during: &'static str,
    },
}

impl DataError {
    /// Whether the observer cancelled.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled { .. } => true,
            Self::Pipeline(error) => error.is_cancelled(),
            _ => false,
        }
    }
}
