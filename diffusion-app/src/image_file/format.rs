//! The formats that images are written in.

use std::path::Path;

use super::error::ImageFileError;
use crate::output::{OutputKind, output_kind};

/// A format that images are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// PNG, to the bit, with the settings in a text chunk.
    Png,
    /// JPEG of high quality, with the settings in its EXIF data.
    Jpeg,
    /// WebP, to the bit, with the settings in its EXIF data.
    WebP,
}

impl OutputFormat {
    /// The format that a path's extension names. A device, a pipe or standard output whose name does not tell gets a PNG.
    ///
    /// # Errors
    /// [`ImageFileError`] if the extension names none, or the path is nothing that can be written.
    pub fn of(path: &Path) -> Result<Self, ImageFileError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("png") => Ok(Self::Png),
            Some("jpg" | "jpeg") => Ok(Self::Jpeg),
            Some("webp") => Ok(Self::WebP),
            _ if output_kind(path)? != OutputKind::File => Ok(Self::Png),
            _ => Err(ImageFileError::Extension { path: path.to_owned() }),
        }
    }

    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// The media type of its files.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    /// Most pixels a side.
    pub(super) fn max_side(self) -> usize {
        match self {
            Self::Png => i32::MAX as usize,
            Self::Jpeg => 65_535,
            Self::WebP => 16_384,
        }
    }
}
