//! What may not be meant.

use std::fmt::{self, Display};
use std::path::PathBuf;

use diffusion_core::files::Shown;
use diffusion_models::Truncation;

/// Something about pictures and captions that is learnt from, but may not be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataWarning {
    /// A folder below the folder of pictures is not looked into.
    PassedOver {
        /// Its name.
        folder: String,
    },
    /// There are captions, and one prompt for all pictures in their place.
    UnusedCaptions {
        /// The folder of pictures.
        folder: PathBuf,
        /// Number of files with captions.
        count: usize,
    },
    /// Two pictures are equal byte for byte.
    SamePicture {
        /// Name of a picture.
        first: String,
        /// Name of the other one.
        second: String,
    },
    /// Much of a picture is cut off, because no bucket is as long.
    Cropped {
        /// Name of the picture.
        picture: String,
        /// Share of it that is learnt, in percent.
        percent: usize,
    },
    /// Pictures are smaller than the lowest resolution.
    Small {
        /// Number of pictures.
        count: usize,
        /// The lowest resolution, in pixels.
        resolution: usize,
    },
    /// Text encoders do not see the end of a caption.
    CaptionCut {
        /// Name of a picture that has the caption.
        picture: String,
        /// What is not seen, and by which encoder.
        truncation: Truncation,
    },
}

impl Display for DataWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PassedOver { folder } => {
                write!(f, "the folder {} is passed over: its name is not like \"10_words\"", Shown(folder))
            }
            Self::UnusedCaptions { folder, count } => {
                let files = if *count == 1 { "file" } else { "files" };
                write!(f, "{count} {files} with captions in {} count for nothing: all pictures have one", folder.display())
            }
            Self::SamePicture { first, second } => {
                write!(f, "{} and {} are the same picture", Shown(first), Shown(second))
            }
            Self::Cropped { picture, percent } => write!(f, "only {percent} % of {} is learnt: it is very long", Shown(picture)),
            Self::Small { count, resolution } => {
                let pictures = if *count == 1 { "picture is" } else { "pictures are" };
                write!(f, "{count} {pictures} smaller than the resolution of {resolution}, and learnt at a lower one")
            }
            Self::CaptionCut { picture, truncation } => write!(f, "the caption of {}: {truncation}", Shown(picture)),
        }
    }
}
