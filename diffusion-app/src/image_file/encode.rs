//! Images in the bytes of a file, with the settings that they were drawn with.

use std::io::{self, Write};

use diffusion_core::image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::exif::exif_with_comment;
use super::format::OutputFormat;
use super::parameters::{KEYWORD, is_plain_text};

/// Quality of a JPEG, of at most 100, that nobody tells from the image.
pub const JPEG_QUALITY: u8 = 95;
/// Most bytes of EXIF data in a JPEG: a segment without its length and mark.
const JPEG_EXIF_BYTES: usize = 65_527;

/// A format has no room for an image or its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct NoRoom {
    /// What there is no room for.
    pub problem: String,
}

/// Why an image could not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The format has no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The encoder failed.
    #[error("cannot encode the image")]
    Encode(#[source] io::Error),
}

/// Check that a format has room for an image of `width` x `height` pixels with these settings.
///
/// # Errors
/// [`NoRoom`].
pub fn check_room(format: OutputFormat, width: usize, height: usize, parameters: &str) -> Result<(), NoRoom> {
    let largest = format.max_side();
    if width > largest || height > largest {
        return Err(NoRoom { problem: format!("the format ends at {largest} pixels a side") });
    }
    if format == OutputFormat::Jpeg && exif_with_comment(parameters).len() > JPEG_EXIF_BYTES {
        return Err(NoRoom { problem: "the prompt is longer than the format has room for".to_owned() });
    }
    Ok(())
}

/// The bytes of a file with the image, and with its settings where other programs look for them: in the text chunk `parameters`
/// of a PNG, and as EXIF `UserComment` in a JPEG or WebP.
///
/// `quality`, 1 to 100, counts for JPEG; PNG and WebP keep every bit.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_image(image: &RgbImage, format: OutputFormat, quality: u8, parameters: &str) -> Result<Vec<u8>, EncodeError> {
    check_room(format, image.width, image.height, parameters)?;
    let mut bytes = Vec::new();
    encode_into(&mut bytes, image, format, quality, parameters).map_err(EncodeError::Encode)?;
    Ok(bytes)
}

/// As [`encode_image`], into a file.
pub(super) fn encode_into(
    file: &mut dyn Write,
    image: &RgbImage,
    format: OutputFormat,
    quality: u8,
    parameters: &str,
) -> io::Result<()> {
    match format {
        OutputFormat::Png => encode_png(file, image, parameters),
        OutputFormat::Jpeg => encode(JpegEncoder::new_with_quality(file, quality.clamp(1, 100)), image, parameters),
        OutputFormat::WebP => encode(WebPEncoder::new_lossless(file), image, parameters),
    }
}

fn encode_png(file: &mut dyn Write, image: &RgbImage, parameters: &str) -> io::Result<()> {
    let encode = || {
        let mut encoder = png::Encoder::new(file, image.width as u32, image.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        if is_plain_text(parameters) {
            encoder.add_text_chunk(KEYWORD.to_owned(), parameters.to_owned())?;
        } else {
            encoder.add_itxt_chunk(KEYWORD.to_owned(), parameters.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&image.pixels)?;
        writer.finish()
    };
    encode().map_err(|error| match error {
        png::EncodingError::IoError(error) => error,
        other => other.into(),
    })
}

fn encode(mut encoder: impl ImageEncoder, image: &RgbImage, parameters: &str) -> io::Result<()> {
    let failed = |error| match error {
        ImageError::IoError(error) => error,
        other => io::Error::other(other),
    };
    encoder.set_exif_metadata(exif_with_comment(parameters)).map_err(io::Error::other)?;
    encoder.write_image(&image.pixels, image.width as u32, image.height as u32, ExtendedColorType::Rgb8).map_err(failed)
}
