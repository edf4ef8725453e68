//! Pictures in common formats.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no picture.
    #[error("{} is no picture that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The picture is damaged, of an unusual kind, or too large.
    #[error("cannot read the picture {}; convert it to PNG or JPEG", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: ImageError,
    },
}

/// Read a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF as a picture of `width` x `height` pixels.
///
/// It is turned as its EXIF data say, laid on white where it is transparent, and resampled (Lanczos) if it has another size;
/// a change of its proportions gives a warning.
///
/// # Errors
/// [`ReadError`] naming the file.
pub fn read_picture(path: &Path, width: usize, height: usize) -> Result<RgbImage, ReadError> {
    let picture = on(WHITE, upright(path)?);
    let picture = if picture.dimensions() == (width as u32, height as u32) {
        picture
    } else {
        warn_of_proportions(path, picture.dimensions(), (width, height));
        image::imageops::resize(&picture, width as u32, height as u32, FilterType::Lanczos3)
    };
    Ok(RgbImage { width, height, pixels: picture.into_raw() })
}

/// Read a mask of `width` x `height` pixels from a picture: white to repaint, black and transparent to keep.
///
/// # Errors
/// As [`read_picture`].
pub fn read_mask(path: &Path, width: usize, height: usize) -> Result<Mask, ReadError> {
    let picture = on(BLACK, upright(path)?);
    let mask = DynamicImage::from(picture).into_luma8();
    let mask = if mask.dimensions() == (width as u32, height as u32) {
        mask
    } else {
        warn_of_proportions(path, mask.dimensions(), (width, height));
        // A kernel without overshoot, which would soil what is to be kept.
        image::imageops::resize(&mask, width as u32, height as u32, FilterType::Triangle)
    };
    Ok(Mask { width, height, levels: mask.into_raw() })
}

/// The picture of a file, turned as its EXIF data say.
fn upright(path: &Path) -> Result<DynamicImage, ReadError> {
    let open = |source| ReadError::Open { path: path.to_owned(), source };
    let decode = |source| ReadError::Decode { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    // Contents decide, not the file's extension.
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(open)?;
    if reader.format().is_none() {
        return Err(ReadError::Format { path: path.to_owned() });
    }
    let mut decoder = reader.into_decoder().map_err(decode)?;
    let orientation = decoder.orientation().map_err(decode)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(decode)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// What lies under transparent pictures.
const WHITE: u32 = 255;
const BLACK: u32 = 0;

/// The picture in 8-bit RGB, on a gray of this level where it is transparent.
fn on(ground: u32, picture: DynamicImage) -> image::RgbImage {
    const OPAQUE: u32 = 255;
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    image::RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        let over_ground = |level: u32| ((level * alpha + ground * (OPAQUE - alpha) + OPAQUE / 2) / OPAQUE) as u8;
        image::Rgb([red, green, blue].map(over_ground))
    })
}

fn warn_of_proportions(path: &Path, (found_width, found_height): (u32, u32), (width, height): (usize, usize)) {
    /// A change that nobody sees.
    const TOLERANCE: f64 = 0.02;
    let found = f64::from(found_width) / f64::from(found_height);
    let asked = width as f64 / height as f64;
    if (found / asked).ln().abs() > TOLERANCE {
        let path = path.display();
        tracing::warn!(
            "{path} has {found_width} x {found_height} pixels and is stretched to {width} x {height}; --width and --height choose other sides"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat};

    const WIDTH: u32 = 12;
    const HEIGHT: u32 = 8;

    fn picture() -> image::RgbImage {
        image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, (x * y) as u8]))
    }

    fn read(path: &Path) -> Vec<u8> {
        read_picture(path, WIDTH as usize, HEIGHT as usize).unwrap().pixels
    }

    #[test]
    fn every_format_is_read_whatever_its_extension_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.txt");
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            picture().save_with_format(&path, format).unwrap();
            assert!(read(&path) == picture().into_raw(), "{format:?}");
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let gray = image::RgbImage::from_pixel(WIDTH, HEIGHT, image::Rgb([128; 3]));
            gray.save_with_format(&path, format).unwrap();
            assert!(read(&path).iter().all(|level| level.abs_diff(128) <= 2), "{format:?}");
        }
    }

    /// A PNG that says to be turned by a quarter, clockwise.
    #[test]
    fn pictures_are_turned_as_exif_says() {
        // A TIFF header, one entry: orientation (0x0112), a short, 6.
        let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".as_slice(), &[0; 4]].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.png");
        let lying = image::imageops::rotate270(&picture());
        let mut encoder = PngEncoder::new(File::create(&path).unwrap());
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(lying.as_raw(), HEIGHT, WIDTH, ExtendedColorType::Rgb8).unwrap();
        assert!(read(&path) == picture().into_raw());
    }

    #[test]
    fn transparent_pictures_lie_on_white() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glass.png");
        let pixels = [[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]];
        let glass = image::RgbaImage::from_fn(3, 1, |x, _| image::Rgba(pixels[x as usize]));
        glass.save(&path).unwrap();
        let found = read_picture(&path, 3, 1).unwrap().pixels;
        assert_eq!(found, [10, 20, 30, 255, 255, 255, 204, 224, 244]);
    }

    #[test]
    fn masks_are_white_where_to_repaint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let pixels = [[255, 255, 255, 255], [255, 255, 255, 0], [0, 0, 0, 255], [128, 128, 128, 255]];
        image::RgbaImage::from_fn(4, 1, |x, _| image::Rgba(pixels[x as usize])).save(&path).unwrap();
        assert_eq!(read_mask(&path, 4, 1).unwrap().levels, [255, 0, 0, 128]);
        assert_eq!(read_mask(&path, 8, 2).unwrap().levels.len(), 16);
    }

    #[test]
    fn other_sizes_are_resampled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        picture().save(&path).unwrap();
        let found = read_picture(&path, 24, 16).unwrap();
        assert_eq!((found.width, found.height, found.pixels.len()), (24, 16, 3 * 24 * 16));
        let expected = image::imageops::resize(&picture(), 24, 16, FilterType::Lanczos3);
        assert!(found.pixels == expected.into_raw());
    }

    #[test]
    fn files_that_are_no_pictures_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.png");
        let error = || read_picture(&path, 16, 16).unwrap_err();
        assert!(matches!(error(), ReadError::Open { .. }));
        std::fs::write(&path, "no picture").unwrap();
        assert!(matches!(error(), ReadError::Format { .. }));
        picture().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(error(), ReadError::Decode { .. }) && error().to_string().contains("notes.png"));
    }
}
