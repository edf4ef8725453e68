//! Images in files: PNG, JPEG, WebP, GIF, BMP and TIFF are read, PNG, JPEG and WebP are written.

mod encode;
mod error;
mod exif;
mod format;
mod parameters;
mod structure;
mod write;

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageReader, Limits, Pixel};

use crate::input_file::{ReadFileError, read_bounded};
pub use encode::{EncodeError, JPEG_QUALITY, NoRoom, check_room, encode_image};
pub use error::ImageFileError;
pub use format::OutputFormat;
pub use parameters::read_parameters;
use structure::Flaw;
pub use write::{check_image_file, write_image, write_png};

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadImageError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ReadFileError),
    /// The file is no image.
    #[error("{} is no image that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The image has more pixels than are read.
    #[error(
        "{} has {width} x {height} pixels; at most {MAX_SIDE} a side and {} megapixels are read, so make it smaller",
        path.display(), MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// The image claims to have more pixels than its file can hold.
    #[error(
        "{} claims to have {width} x {height} pixels, which {num_bytes} bytes cannot hold; it is damaged, or so even that PNG \
         is the format for it", path.display()
    )]
    Hollow {
        /// The file.
        path: PathBuf,
        /// Width in pixels that it claims to have.
        width: u32,
        /// Height in pixels that it claims to have.
        height: u32,
        /// Bytes of the file.
        num_bytes: usize,
    },
    /// The file ends before the image does.
    #[error("{} is cut off: the file ends before the image does; download or copy it again", path.display())]
    Cut {
        /// The file.
        path: PathBuf,
    },
    /// The image is damaged, or of an unusual kind.
    #[error("cannot read the image {}; convert it to PNG or JPEG", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: ImageError,
    },
}

/// Most pixels a side of an image that is read.
const MAX_SIDE: u32 = 16_384;
/// Most pixels of an image that is read.
const MAX_PIXELS: u64 = 1 << 28;
/// Most bytes of an image's file: as many as the largest image has in 8-bit RGBA.
const MAX_BYTES: u64 = 4 * MAX_PIXELS;

/// A warning: an image was given other proportions than it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretched {
    /// The file.
    pub path: PathBuf,
    /// Its width and height in pixels.
    pub found: (usize, usize),
    /// Width and height in pixels that it was resampled to.
    pub size: (usize, usize),
}

impl Display for Stretched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, found: (found_width, found_height), size: (width, height) } = self;
        let path = path.display();
        write!(f, "{path} has {found_width} x {found_height} pixels and is stretched to {width} x {height}")
    }
}

/// Read a PNG, JPEG, WebP, GIF, BMP or TIFF as an image of `width` x `height` pixels; of an animation, the first frame.
///
/// It is turned as its EXIF data say, laid on white where it is transparent, and resampled (Lanczos) if it has another size.
/// Other proportions give a warning.
///
/// # Errors
/// [`ReadImageError`] naming the file.
pub fn read_image(path: &Path, width: usize, height: usize) -> Result<(RgbImage, Option<Stretched>), ReadImageError> {
    decode_image(&read_image_bytes(path)?, path, width, height)
}

/// As [`read_image`], of the bytes of a file. Errors and warnings name `path`.
///
/// # Errors
/// As [`read_image`].
pub fn decode_image(
    bytes: &[u8],
    path: &Path,
    width: usize,
    height: usize,
) -> Result<(RgbImage, Option<Stretched>), ReadImageError> {
    let found = on(WHITE, upright(bytes, path)?);
    let warning = stretched(path, found.dimensions(), (width, height));
    Ok((RgbImage { width, height, pixels: fitted(found, width, height, FilterType::Lanczos3) }, warning))
}

/// Read an inpaint mask of `width` x `height` pixels from an image: white to regenerate, black and transparent to keep.
///
/// # Errors
/// As [`read_image`].
pub fn read_mask(path: &Path, width: usize, height: usize) -> Result<(Mask, Option<Stretched>), ReadImageError> {
    decode_mask(&read_image_bytes(path)?, path, width, height)
}

/// As [`read_mask`], of the bytes of a file. Errors and warnings name `path`.
///
/// # Errors
/// As [`read_image`].
pub fn decode_mask(bytes: &[u8], path: &Path, width: usize, height: usize) -> Result<(Mask, Option<Stretched>), ReadImageError> {
    let found = DynamicImage::from(on(BLACK, upright(bytes, path)?)).into_luma8();
    let warning = stretched(path, found.dimensions(), (width, height));
    // A kernel without overshoot, which would soil what is to be preserved.
    Ok((Mask { width, height, levels: fitted(found, width, height, FilterType::Triangle) }, warning))
}

/// As [`decode_image`], of the size that the image has, once it is turned.
///
/// # Errors
/// As [`read_image`].
pub fn decode_at_own_size(bytes: &[u8], path: &Path) -> Result<RgbImage, ReadImageError> {
    let found = on(WHITE, upright(bytes, path)?);
    let (width, height) = (found.width() as usize, found.height() as usize);
    Ok(RgbImage { width, height, pixels: found.into_raw() })
}

/// The bytes of an image's file, if they are no more than any image has that is read.
///
/// # Errors
/// [`ReadFileError`] naming the file.
pub fn read_image_bytes(path: &Path) -> Result<Vec<u8>, ReadFileError> {
    read_bounded(path, "image", MAX_BYTES)
}

/// The values of an image, resampled if it has another size than this.
fn fitted<P: Pixel<Subpixel = u8> + 'static>(
    found: ImageBuffer<P, Vec<u8>>,
    width: usize,
    height: usize,
    filter: FilterType,
) -> Vec<u8> {
    let (width, height) = (width as u32, height as u32);
    if found.dimensions() == (width, height) {
        return found.into_raw();
    }
    image::imageops::resize(&found, width, height, filter).into_raw()
}

/// The image of a file, turned as its EXIF data say.
///
/// All that costs memory or time is checked first: what the image claims to be, and whether the file can hold that.
fn upright(bytes: &[u8], path: &Path) -> Result<DynamicImage, ReadImageError> {
    let path = || path.to_owned();
    let no_image = || ReadImageError::Format { path: path() };
    // Contents decide, not the file's extension.
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| no_image())?;
    let format = reader.format().ok_or_else(no_image)?;
    let cut = || ReadImageError::Cut { path: path() };
    let decode = |source| if ends_early(&source) { cut() } else { ReadImageError::Decode { path: path(), source } };

    let flaw = structure::check(format, bytes);
    if flaw == Err(Flaw::Cut) {
        return Err(cut());
    }
    reader.limits(limits(0));
    let mut decoder = reader.into_decoder().map_err(decode)?;
    let (width, height) = decoder.dimensions();
    let num_pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || num_pixels > MAX_PIXELS {
        return Err(ReadImageError::TooLarge { path: path(), width, height });
    }
    let bits_per_pixel = decoder.original_color_type().bits_per_pixel();
    if flaw.is_err() || !structure::can_hold(format, bytes.len(), num_pixels, bits_per_pixel) {
        return Err(ReadImageError::Hollow { path: path(), width, height, num_bytes: bytes.len() });
    }
    decoder.set_limits(limits(decoder.total_bytes())).map_err(decode)?;
    // Damaged EXIF data do not make an image worthless.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(decode)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// What a decoder may allocate for an image that has so many bytes, besides the image.
fn limits(image_bytes: u64) -> Limits {
    /// For colour profiles, texts and rows.
    const BESIDES: u64 = 16 << 20;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(2 * image_bytes + BESIDES);
    limits
}

/// Whether a decoder wanted to read beyond the end of the file.
fn ends_early(error: &ImageError) -> bool {
    // Its source would be what is in that error, not the error.
    let mut cause: Option<&(dyn Error + 'static)> = match error {
        ImageError::IoError(error) => Some(error),
        other => other.source(),
    };
    while let Some(error) = cause {
        let is_end = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        // The decoder of GIF has an error of its own for it, which no code but its own can name.
        if is_end || error.to_string().eq_ignore_ascii_case("unexpected end of file") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What lies under transparent images.
const WHITE: u32 = 255;
const BLACK: u32 = 0;

/// The image in 8-bit RGB, on a gray of this level where it is transparent.
fn on(ground: u32, image: DynamicImage) -> image::RgbImage {
    const OPAQUE: u32 = 255;
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    image::RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        let over_ground = |level: u32| ((level * alpha + ground * (OPAQUE - alpha) + OPAQUE / 2) / OPAQUE) as u8;
        image::Rgb([red, green, blue].map(over_ground))
    })
}

/// The warning that goes with a change of proportions.
fn stretched(path: &Path, (found_width, found_height): (u32, u32), (width, height): (usize, usize)) -> Option<Stretched> {
    /// A change that nobody sees.
    const TOLERANCE: f64 = 0.02;
    let found = f64::from(found_width) / f64::from(found_height);
    let wanted = width as f64 / height as f64;
    ((found / wanted).ln().abs() > TOLERANCE).then(|| Stretched {
        path: path.to_owned(),
        found: (found_width as usize, found_height as usize),
        size: (width, height),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat};

    const WIDTH: u32 = 12;
    const HEIGHT: u32 = 8;

    fn image() -> image::RgbImage {
        image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, (x * y) as u8]))
    }

    fn read(path: &Path) -> Vec<u8> {
        read_image(path, WIDTH as usize, HEIGHT as usize).unwrap().0.pixels
    }

    #[test]
    fn every_format_is_read_whatever_its_extension_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.txt");
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            image().save_with_format(&path, format).unwrap();
            assert!(read(&path) == image().into_raw(), "{format:?}");
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let gray = image::RgbImage::from_pixel(WIDTH, HEIGHT, image::Rgb([128; 3]));
            gray.save_with_format(&path, format).unwrap();
            assert!(read(&path).iter().all(|level| level.abs_diff(128) <= 2), "{format:?}");
        }
    }

    /// A PNG that says to be turned by a quarter, clockwise.
    #[test]
    fn images_are_turned_as_exif_says() {
        // A TIFF header, one entry: orientation (0x0112), a short, 6.
        let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".as_slice(), &[0; 4]].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.png");
        let lying = image::imageops::rotate270(&image());
        let mut encoder = PngEncoder::new(File::create(&path).unwrap());
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(lying.as_raw(), HEIGHT, WIDTH, ExtendedColorType::Rgb8).unwrap();
        assert!(read(&path) == image().into_raw());
    }

    #[test]
    fn transparent_images_lie_on_white() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glass.png");
        let pixels = [[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]];
        let glass = image::RgbaImage::from_fn(3, 1, |x, _| image::Rgba(pixels[x as usize]));
        glass.save(&path).unwrap();
        let found = read_image(&path, 3, 1).unwrap().0.pixels;
        assert_eq!(found, [10, 20, 30, 255, 255, 255, 204, 224, 244]);
    }

    #[test]
    fn masks_are_white_where_to_regenerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let pixels = [[255, 255, 255, 255], [255, 255, 255, 0], [0, 0, 0, 255], [128, 128, 128, 255]];
        image::RgbaImage::from_fn(4, 1, |x, _| image::Rgba(pixels[x as usize])).save(&path).unwrap();
        assert_eq!(read_mask(&path, 4, 1).unwrap().0.levels, [255, 0, 0, 128]);
        assert_eq!(read_mask(&path, 8, 2).unwrap().0.levels.len(), 16);
    }

    #[test]
    fn other_sizes_are_resampled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        image().save(&path).unwrap();
        let (found, warning) = read_image(&path, 24, 16).unwrap();
        assert_eq!((found.width, found.height, found.pixels.len()), (24, 16, 3 * 24 * 16));
        let expected = image::imageops::resize(&image(), 24, 16, FilterType::Lanczos3);
        assert!(found.pixels == expected.into_raw());
        assert_eq!(warning, None);
    }

    #[test]
    fn other_proportions_give_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.png");
        image().save(&path).unwrap();
        let expected = Stretched { path: path.clone(), found: (12, 8), size: (16, 16) };
        assert_eq!(read_image(&path, 16, 16).unwrap().1.as_ref(), Some(&expected));
        assert_eq!(read_mask(&path, 16, 16).unwrap().1.as_ref(), Some(&expected));
        assert!(expected.to_string().contains("wide.png has 12 x 8 pixels and is stretched to 16 x 16"));
    }

    #[test]
    fn files_that_are_no_images_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.png");
        let error = || read_image(&path, 16, 16).unwrap_err();
        assert!(matches!(error(), ReadImageError::File(ReadFileError::Open { .. })));
        std::fs::write(&path, "no image").unwrap();
        assert!(matches!(error(), ReadImageError::Format { .. }));
        assert!(matches!(read_image(folder.path(), 16, 16).unwrap_err(), ReadImageError::File(ReadFileError::NoFile { .. })));
    }
}
