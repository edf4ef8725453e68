//! Previews as files.

use std::io::Cursor;

use diffusion_core::image::RgbImage;
use image::ImageFormat;
use image::imageops::FilterType;

/// A picture as a PNG without parameters.
pub(crate) fn png_of(picture: &RgbImage) -> Vec<u8> {
    as_image(picture).map(png).unwrap_or_default()
}

/// A picture as a PNG of another size.
pub(crate) fn enlarged_png_of(picture: &RgbImage, width: usize, height: usize) -> Vec<u8> {
    let enlarge = |small| image::imageops::resize(&small, width as u32, height as u32, FilterType::Triangle);
    as_image(picture).map(enlarge).map(png).unwrap_or_default()
}

fn as_image(picture: &RgbImage) -> Option<image::RgbImage> {
    image::RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels.clone())
}

fn png(image: image::RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    // Memory takes whatever is written to it.
    let _ = image.write_to(&mut bytes, ImageFormat::Png);
    bytes.into_inner()
}
