//! Images written with the settings that they were drawn with.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use diffusion_core::image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::output::{OutputKind, WriteError, output_kind, write_whole};

/// A format that images are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// PNG, to the bit, with the settings in a text chunk.
    Png,
    /// JPEG of high quality, with the settings in its EXIF data.
    Jpeg,
    /// WebP, to the bit, with the settings in its EXIF data.
    WebP,
}

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

/// Of at most 100; what is lost is not seen.
const JPEG_QUALITY: u8 = 95;
/// Most bytes of EXIF data in a JPEG: a segment without its length and mark.
const JPEG_EXIF_BYTES: usize = 65_527;

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

    /// Most pixels a side.
    fn max_side(self) -> usize {
        match self {
            Self::Png => i32::MAX as usize,
            Self::Jpeg => 65_535,
            Self::WebP => 16_384,
        }
    }
}

/// Check that an image of `width` x `height` pixels with these settings can be written in the format that the path names.
///
/// # Errors
/// [`ImageFileError`] if there is no such format, or no room in it.
pub fn check_image_file(path: &Path, width: usize, height: usize, parameters: &str) -> Result<(), ImageFileError> {
    let format = OutputFormat::of(path)?;
    let refuse = |problem| Err(ImageFileError::Room { path: path.to_owned(), problem });
    let largest = format.max_side();
    if width > largest || height > largest {
        return refuse(format!("the format ends at {largest} pixels a side"));
    }
    if format == OutputFormat::Jpeg && exif_with_comment(parameters).len() > JPEG_EXIF_BYTES {
        return refuse("the prompt is longer than the format has room for".to_owned());
    }
    Ok(())
}

/// Write an image in the format that the path's extension names, with its settings where other programs look for them: in the
/// text chunk `parameters` of a PNG, and as EXIF `UserComment` in a JPEG or WebP.
///
/// # Errors
/// As [`check_image_file`], or [`WriteError`].
pub fn write_image(path: &Path, image: &RgbImage, parameters: &str) -> Result<(), ImageFileError> {
    check_image_file(path, image.width, image.height, parameters)?;
    let format = OutputFormat::of(path)?;
    Ok(write_whole(path, |file| match format {
        OutputFormat::Png => encode_png(file, image, parameters),
        OutputFormat::Jpeg => encode(JpegEncoder::new_with_quality(file, JPEG_QUALITY), image, parameters),
        OutputFormat::WebP => encode(WebPEncoder::new_lossless(file), image, parameters),
    })?)
}

/// Write an image as PNG, whatever the path's extension, with its settings in the text chunk `parameters`.
///
/// # Errors
/// [`WriteError`].
pub fn write_png(path: &Path, image: &RgbImage, parameters: &str) -> Result<(), WriteError> {
    write_whole(path, |file| encode_png(file, image, parameters))
}

fn encode_png(file: &mut dyn Write, image: &RgbImage, parameters: &str) -> io::Result<()> {
    let encode = || {
        let mut encoder = png::Encoder::new(file, image.width as u32, image.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Plain text chunks hold Latin-1 only.
        if parameters.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk("parameters".to_owned(), parameters.to_owned())?;
        } else {
            encoder.add_itxt_chunk("parameters".to_owned(), parameters.to_owned())?;
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

/// EXIF data with one entry, `UserComment`, as AUTOMATIC1111's web interface writes it: UTF-16, the high byte first.
///
/// Reference: Exif 2.32, 4.6.
fn exif_with_comment(comment: &str) -> Vec<u8> {
    const EXIF_DIRECTORY: u16 = 0x8769;
    const USER_COMMENT: u16 = 0x9286;
    const LONG: u16 = 4;
    const UNDEFINED: u16 = 7;
    const HEADER: u32 = 8;
    /// Number of entries, one entry, and where the next directory is.
    const DIRECTORY: u32 = 2 + 12 + 4;
    let directory = |tag: u16, kind: u16, count: u32, value: u32| {
        let (number_of_entries, next) = (1_u16.to_be_bytes(), 0_u32.to_be_bytes());
        let entry = [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &count.to_be_bytes(), &value.to_be_bytes()].concat();
        [&number_of_entries[..], &entry, &next].concat()
    };
    let text: Vec<u8> = b"UNICODE\0".iter().copied().chain(comment.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let header = [b"MM\0*".as_slice(), &HEADER.to_be_bytes()].concat();
    let main = directory(EXIF_DIRECTORY, LONG, 1, HEADER + DIRECTORY);
    let exif = directory(USER_COMMENT, UNDEFINED, text.len() as u32, HEADER + 2 * DIRECTORY);
    [header, main, exif, text].concat()
}
