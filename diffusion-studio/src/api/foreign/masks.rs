//! Masks as other programs mean them, turned into ours: white is redrawn.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffusion_app::image_file::decode_at_own_size;
use image::{DynamicImage, GrayImage, ImageFormat, ImageReader};

use crate::refusal::Refusal;

/// A mask with white and black exchanged, as base64. `bytes` are a picture whose size is within bounds.
///
/// # Errors
/// [`Refusal`] naming `field` if it cannot be decoded.
pub(crate) fn inverted_mask(field: &str, bytes: &[u8]) -> Result<String, Refusal> {
    let picture = decode_at_own_size(bytes, Path::new(field)).map_err(|error| Refusal::invalid(field, error.to_string()))?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mask = image::RgbImage::from_raw(width, height, picture.pixels).map(|rgb| DynamicImage::from(rgb).into_luma8());
    let mut mask = mask.ok_or_else(|| Refusal::invalid(field, "the mask has no pixels"))?;
    image::imageops::invert(&mut mask);
    as_png(field, mask)
}

/// The mask that is white where a picture is transparent, as base64.
///
/// # Errors
/// [`Refusal`] naming `field` if it cannot be decoded, or is transparent nowhere.
pub(crate) fn mask_of_alpha(field: &str, bytes: &[u8]) -> Result<String, Refusal> {
    let unreadable = |error: &dyn std::fmt::Display| Refusal::invalid(field, format!("the mask cannot be read: {error}"));
    // Damage is told apart from other things there, and a file that cannot hold what it claims is refused.
    decode_at_own_size(bytes, Path::new(field)).map_err(|error| Refusal::invalid(field, error.to_string()))?;
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| unreadable(&error))?;
    let picture = reader.decode().map_err(|error| unreadable(&error))?;
    let has_alpha = picture.color().has_alpha();
    let rgba = picture.into_rgba8();
    let mask = GrayImage::from_fn(rgba.width(), rgba.height(), |x, y| image::Luma([u8::MAX - rgba.get_pixel(x, y).0[3]]));
    if !has_alpha || mask.iter().all(|&level| level == 0) {
        return Err(Refusal::invalid(field, "the mask is transparent nowhere; what is to be redrawn has the alpha 0"));
    }
    as_png(field, mask)
}

fn as_png(field: &str, mask: GrayImage) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    let written = mask.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png);
    written.map_err(|error| Refusal::invalid(field, format!("the mask cannot be kept: {error}")))?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Vec::new();
        picture.into().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        bytes
    }

    fn levels(base64: &str) -> Vec<u8> {
        image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap().into_luma8().into_raw()
    }

    #[test]
    fn white_and_black_are_exchanged() {
        let mask = GrayImage::from_raw(3, 1, vec![0, 200, 255]).unwrap();
        assert_eq!(levels(&inverted_mask("mask", &png(mask)).unwrap()), [255, 55, 0]);
    }

    #[test]
    fn what_is_transparent_is_redrawn() {
        let mask = image::RgbaImage::from_raw(3, 1, vec![9, 9, 9, 0, 9, 9, 9, 255, 9, 9, 9, 200]).unwrap();
        assert_eq!(levels(&mask_of_alpha("mask", &png(mask)).unwrap()), [255, 0, 55]);
    }

    #[test]
    fn masks_without_transparency_are_refused() {
        let opaque = image::RgbaImage::from_pixel(2, 2, image::Rgba([0, 0, 0, 255]));
        for bytes in [png(opaque), png(GrayImage::new(2, 2)), b"no picture".to_vec()] {
            assert_eq!(mask_of_alpha("mask", &bytes).unwrap_err().field.as_deref(), Some("mask"));
        }
        assert_eq!(inverted_mask("mask", b"no picture").unwrap_err().field.as_deref(), Some("mask"));
    }
}
