//! Images in files: PNG, JPEG, WebP, GIF, BMP and TIFF are read, PNG is written.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use image::imageops::FilterType;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageReader, Pixel};

use crate::output::{WriteError, write_whole};

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadImageError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no image.
    #[error("{} is no image that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The image is damaged, of an unusual kind, or too large.
    #[error("cannot read the image {}; convert it to PNG or JPEG", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: ImageError,
    },
}

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

/// Read a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF as an image of `width` x `height` pixels.
///
/// It is turned as its EXIF data say, laid on white where it is transparent, and resampled (Lanczos) if it has another size.
/// Other proportions give a warning.
///
/// # Errors
/// [`ReadImageError`] naming the file.
pub fn read_image(path: &Path, width: usize, height: usize) -> Result<(RgbImage, Option<Stretched>), ReadImageError> {
    let found = on(WHITE, upright(path)?);
    let warning = stretched(path, found.dimensions(), (width, height));
    Ok((RgbImage { width, height, pixels: fitted(found, width, height, FilterType::Lanczos3) }, warning))
}

/// Read an inpaint mask of `width` x `height` pixels from an image: white to regenerate, black and transparent to keep.
///
/// # Errors
/// As [`read_image`].
pub fn read_mask(path: &Path, width: usize, height: usize) -> Result<(Mask, Option<Stretched>), ReadImageError> {
    let found = DynamicImage::from(on(BLACK, upright(path)?)).into_luma8();
    let warning = stretched(path, found.dimensions(), (width, height));
    // A kernel without overshoot, which would soil what is to be preserved.
    Ok((Mask { width, height, levels: fitted(found, width, height, FilterType::Triangle) }, warning))
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
fn upright(path: &Path) -> Result<DynamicImage, ReadImageError> {
    let open = |source| ReadImageError::Open { path: path.to_owned(), source };
    let decode = |source| ReadImageError::Decode { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    // Contents decide, not the file's extension.
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(open)?;
    if reader.format().is_none() {
        return Err(ReadImageError::Format { path: path.to_owned() });
    }
    let mut decoder = reader.into_decoder().map_err(decode)?;
    let orientation = decoder.orientation().map_err(decode)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(decode)?;
    image.apply_orientation(orientation);
    Ok(image)
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

/// Write an image as PNG with a text chunk `parameters`, in which other programs look for prompt and settings.
///
/// # Errors
/// [`WriteError`].
pub fn write_png(path: &Path, image: &RgbImage, parameters: &str) -> Result<(), WriteError> {
    write_whole(path, |file| {
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
        Ok(writer.finish()?)
    })
}

#[cfg(test)]
mod tests {
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
    fn a_png_carries_its_parameters_in_any_script() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawn.png");
        let drawn = RgbImage { width: WIDTH as usize, height: HEIGHT as usize, pixels: image().into_raw() };
        for parameters in ["un café\nSteps: 2", "猫"] {
            write_png(&path, &drawn, parameters).unwrap();
            assert!(read(&path) == drawn.pixels);
            let reader = png::Decoder::new(BufReader::new(File::open(&path).unwrap())).read_info().unwrap();
            let plain = reader.info().uncompressed_latin1_text.iter().map(|chunk| chunk.text.clone());
            let unicode = reader.info().utf8_text.iter().map(|chunk| chunk.get_text().unwrap());
            assert_eq!(plain.chain(unicode).collect::<Vec<_>>(), [parameters]);
        }
    }

    #[test]
    fn files_that_are_no_images_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.png");
        let error = || read_image(&path, 16, 16).unwrap_err();
        assert!(matches!(error(), ReadImageError::Open { .. }));
        std::fs::write(&path, "no image").unwrap();
        assert!(matches!(error(), ReadImageError::Format { .. }));
        image().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(error(), ReadImageError::Decode { .. }) && error().to_string().contains("notes.png"));
    }
}
