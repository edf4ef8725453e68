//! Images written with the settings that they were drawn with.

use std::path::Path;

use diffusion_core::image::RgbImage;

use super::encode::{JPEG_QUALITY, NoRoom, check_room, encode_into};
use super::error::ImageFileError;
use super::format::OutputFormat;
use crate::output::{WriteError, write_whole};

/// Check that an image of `width` x `height` pixels with these settings can be written in the format that the path names.
///
/// # Errors
/// [`ImageFileError`] if there is no such format, or no room in it.
pub fn check_image_file(path: &Path, width: usize, height: usize, parameters: &str) -> Result<(), ImageFileError> {
    let refuse = |NoRoom { problem }| ImageFileError::Room { path: path.to_owned(), problem };
    check_room(OutputFormat::of(path)?, width, height, parameters).map_err(refuse)
}

/// Write an image in the format that the path's extension names, as [`encode_image`](super::encode_image) encodes it.
///
/// # Errors
/// As [`check_image_file`], or [`WriteError`].
pub fn write_image(path: &Path, image: &RgbImage, parameters: &str) -> Result<(), ImageFileError> {
    check_image_file(path, image.width, image.height, parameters)?;
    let format = OutputFormat::of(path)?;
    Ok(write_whole(path, |file| encode_into(file, image, format, JPEG_QUALITY, parameters))?)
}

/// Write an image as PNG, whatever the path's extension, with its settings in the text chunk `parameters`.
///
/// # Errors
/// [`WriteError`].
pub fn write_png(path: &Path, image: &RgbImage, parameters: &str) -> Result<(), WriteError> {
    write_whole(path, |file| encode_into(file, image, OutputFormat::Png, JPEG_QUALITY, parameters))
}
