//! Previews as files.

use std::io::Cursor;

use diffusion_core::image::RgbImage;
use image::ImageFormat;
use image::imageops::FilterType;

/// A picture as a PNG without parameters.
pub(crate) fn png_of(picture: &RgbImage) -> Vec<u8> {
    as_image(picture).map(png).unwrap_or_default()
}

/// A picture in another size, without edges between its pixels.
pub(crate) fn enlarged(picture: &RgbImage, width: usize, height: usize) -> RgbImage {
    let resize = |small| image::imageops::resize(&small, width as u32, height as u32, FilterType::Triangle).into_raw();
    let pixels = as_image(picture).map_or_else(|| vec![0; 3 * width * height], resize);
    RgbImage { width, height, pixels }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_have_the_size_of_the_picture() {
        let small = RgbImage { width: 2, height: 1, pixels: vec![0, 0, 0, 255, 255, 255] };
        let large = enlarged(&small, 16, 8);
        assert_eq!((large.width, large.height, large.pixels.len()), (16, 8, 3 * 16 * 8));
        assert!(large.pixels[0] < 50 && large.pixels[3 * 15] > 200);
    }
}
