//! What is wrong with a folder of pictures.

use std::error::Error;
use std::fmt::{self, Display};
use std::path::PathBuf;

use diffusion_core::files::Shown;

use crate::image_file::ReadImageError;
use crate::prompts_file::PromptsFileError;

/// All that is wrong with a folder of pictures: with its captions, and then with the pictures that have one.
#[derive(Debug)]
pub struct FolderProblems {
    /// The folder.
    pub folder: PathBuf,
    /// What is wrong, at least one thing.
    pub problems: Vec<FolderProblem>,
}

impl FolderProblems {
    /// So many are named.
    const NAMED: usize = 10;
}

impl Display for FolderProblems {
    /// The first ten problems on a line each, and the number of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        if let [only] = &*self.problems {
            return write!(f, "{folder}: {only}");
        }
        write!(f, "{folder} has {} problems:", self.problems.len())?;
        for problem in self.problems.iter().take(Self::NAMED) {
            write!(f, "\n  {problem}")?;
            let mut cause = problem.source();
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        match self.problems.len().saturating_sub(Self::NAMED) {
            0 => Ok(()),
            others => write!(f, "\n  and {others} more"),
        }
    }
}

impl Error for FolderProblems {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.problems {
            [only] => only.source(),
            _ => None,
        }
    }
}

/// A thing that is wrong with a folder of pictures. Names are relative to the folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderProblem {
    /// There is no picture.
    #[error("there is no picture in it: no PNG, JPEG, WebP, GIF, BMP or TIFF")]
    Empty,
    /// A picture has no caption.
    #[error("{} has no caption: there is no {}", Shown(picture), Shown(expected))]
    NoCaption {
        /// The picture.
        picture: String,
        /// Where its caption could be.
        expected: String,
    },
    /// A caption has no picture.
    #[error("{} is a caption without a picture: there is no {}.png or the like", Shown(caption), Shown(stem))]
    NoPicture {
        /// The caption's file.
        caption: String,
        /// The name that its picture would have, without extension.
        stem: String,
    },
    /// Two pictures would have one caption.
    #[error("{} and {} have the same name but for its end, so that they would share a caption", Shown(first), Shown(second))]
    SameStem {
        /// A picture.
        first: String,
        /// The other one.
        second: String,
    },
    /// A picture has two captions.
    #[error("{} has two captions: {} and {}", Shown(picture), Shown(first), Shown(second))]
    TwoCaptions {
        /// The picture.
        picture: String,
        /// Where one of its captions is.
        first: String,
        /// Where the other one is.
        second: String,
    },
    /// The caption of a picture is empty.
    #[error("the caption of {} is empty", Shown(picture))]
    EmptyCaption {
        /// The picture.
        picture: String,
    },
    /// The caption of a picture is longer than any that a text encoder sees.
    #[error("the caption of {} has {characters} characters, and at most {most} are read", Shown(picture))]
    LongCaption {
        /// The picture.
        picture: String,
        /// Length of the caption.
        characters: usize,
        /// Most characters that are read.
        most: usize,
    },
    /// A caption has a place for a trigger word, and there is none.
    #[error("the caption of {} has [trigger] in it, and no trigger word is given", Shown(picture))]
    NoTrigger {
        /// The picture.
        picture: String,
    },
    /// The file of a caption cannot be read.
    #[error("the caption of {} cannot be read", Shown(picture))]
    Caption {
        /// The picture.
        picture: String,
        /// What is wrong with the file.
        source: PromptsFileError,
    },
    /// A line of `metadata.jsonl` is not what it should be.
    #[error("metadata.jsonl, line {line}: {problem}")]
    Metadata {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// `metadata.jsonl` lies below the folder.
    #[error(
        "{} is not read: metadata.jsonl lies at the top of the folder, and names pictures below it by their path",
        Shown(name)
    )]
    LowMetadata {
        /// The file.
        name: String,
    },
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(ReadImageError),
    /// A picture is too small.
    #[error("{} has {width} x {height} pixels, and no side may have fewer than {least}", Shown(picture))]
    Tiny {
        /// The picture.
        picture: String,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// The shortest side that a picture may have at these resolutions, in pixels.
        least: usize,
    },
}
