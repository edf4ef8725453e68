//! Pictures that callers send.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use diffusion_app::digest::sha256_of;
use diffusion_app::image_file::{Stretched, decode_image, decode_mask};
use diffusion_core::mask::Mask;
use diffusion_models::InitImage;
use image::ImageReader;

use super::drawing::{INPUT_URL, InitInput};
use crate::caches::{FileCacheError, Files};
use crate::refusal::{Causes, Refusal, RefusalKind};

/// Pixels of the largest picture that is decoded: as many as cameras make.
const MAX_PIXELS: u64 = 64_000_000;
/// Clients send base64 with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Bytes of a picture that was sent as base64 or a data URL, whose size is within bounds.
///
/// # Errors
/// [`Refusal`] naming `field` if it is no picture, or a larger one than is decoded.
pub(crate) fn decode_picture(field: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    let data = match text.strip_prefix("data:") {
        Some(url) => {
            let (kind, data) = url.split_once(',').ok_or_else(|| Refusal::invalid(field, "the data URL has no comma"))?;
            if !kind.ends_with(";base64") {
                return Err(Refusal::invalid(field, "the data URL is not base64"));
            }
            data
        }
        None => text,
    };
    let compact: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(compact).map_err(|error| Refusal::invalid(field, format!("this is no base64: {error}")))?;
    check_size(field, &bytes)?;
    Ok(bytes)
}

/// Sides of a picture, told by its header.
///
/// # Errors
/// [`Refusal`] naming `field` if it is no picture, or a larger one than is decoded.
pub(crate) fn check_size(field: &str, bytes: &[u8]) -> Result<(u32, u32), Refusal> {
    let no_picture = || Refusal::invalid(field, "this is no picture that can be read; PNG, JPEG, WebP, GIF, BMP and TIFF can");
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| no_picture())?;
    let (width, height) = reader.into_dimensions().map_err(|_| no_picture())?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let megapixels = MAX_PIXELS / 1_000_000;
        let problem = format!("the picture has {width} x {height} pixels; at most {megapixels} megapixels are read");
        return Err(Refusal::new(RefusalKind::TooLarge, problem).at(field));
    }
    Ok((width, height))
}

/// Pictures that were sent, kept by their contents until their jobs are drawn, and longer while there is room.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    files: Files,
}

impl Inputs {
    pub(crate) fn new(files: Files) -> Self {
        Self { files }
    }

    /// Keep a picture that is sent, or find one that was: its name, and its sides.
    ///
    /// # Errors
    /// [`Refusal`] naming `field`.
    pub(crate) fn take(&self, field: &str, text: &str) -> Result<(String, (u32, u32)), Refusal> {
        if let Some(name) = text.strip_prefix(INPUT_URL) {
            let bytes =
                self.read(name)?.ok_or_else(|| Refusal::invalid(field, "this picture is no longer here; send it again"))?;
            return Ok((name.to_owned(), check_size(field, &bytes)?));
        }
        let bytes = decode_picture(field, text)?;
        let size = check_size(field, &bytes)?;
        // What is cut or damaged is told now, and not when its turn comes.
        decode_image(&bytes, Path::new(field), size.0 as usize, size.1 as usize)
            .map_err(|error| Refusal::invalid(field, error.to_string()))?;
        let name = sha256_of(&bytes);
        self.files.write(&name, &bytes)?;
        Ok((name, size))
    }

    /// A picture by its name.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileCacheError> {
        let is_name = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_name { self.files.read(name) } else { Ok(None) }
    }

    /// The picture to start from, at the size that is drawn.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn init_image(&self, input: &InitInput, width: usize, height: usize) -> Result<InitImage, String> {
        let read = |name: &str| {
            let bytes = self.read(name).map_err(|error| Causes(&error).to_string())?;
            bytes.ok_or_else(|| "the picture to start from is no longer here; send it again".to_owned())
        };
        let (image, _) =
            decode_image(&read(&input.image)?, Path::new("image"), width, height).map_err(|error| error.to_string())?;
        let mask = match &input.mask {
            Some(name) => Some(decode_mask(&read(name)?, Path::new("mask"), width, height).map_err(|error| error.to_string())?.0),
            None => None,
        };
        Ok(InitImage { mask, mask_feather: input.mask_feather, ..InitImage::new(image, input.strength) })
    }

    /// What there is to say about a picture that is drawn at another size, and whether a mask is black all over.
    pub(crate) fn warnings(&self, input: &InitInput, width: usize, height: usize) -> Vec<String> {
        let stretched = |bytes: &[u8]| decode_image(bytes, Path::new("image"), width, height).ok()?.1;
        let read = |name: &String| self.read(name).ok().flatten();
        let image: Option<Stretched> = read(&input.image).and_then(|bytes| stretched(&bytes));
        let mask = input.mask.as_ref().and_then(read);
        let mask = mask.and_then(|bytes| Some(decode_mask(&bytes, Path::new("mask"), width, height).ok()?.0));
        let empty = mask.filter(Mask::is_empty).map(|_| "the mask is black everywhere, so the image stays as it is".to_owned());
        image.map(|stretched| stretched.to_string()).into_iter().chain(empty).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn png() -> Vec<u8> {
        let mut bytes = Vec::new();
        image::RgbImage::new(3, 2).write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes
    }

    #[test]
    fn base64_comes_bare_wrapped_unpadded_or_as_a_data_url() {
        let text = STANDARD.encode(png());
        let wrapped = format!("{}\r\n{}", &text[..20], &text[20..]);
        let forms = [text.clone(), wrapped, text.trim_end_matches('=').to_owned(), format!("data:image/png;base64,{text}")];
        for form in forms {
            assert_eq!(decode_picture("image", &form).unwrap(), png(), "{form}");
        }
    }

    #[test]
    fn what_is_no_picture_names_its_field() {
        for text in ["", "%%%", "data:image/png,abc", "data:nothing", "aGVsbG8="] {
            let refusal = decode_picture("mask", text).unwrap_err();
            assert_eq!((refusal.kind, refusal.field.as_deref()), (RefusalKind::Invalid, Some("mask")), "{text}");
        }
    }

    #[test]
    fn a_small_file_of_many_pixels_is_refused_before_it_is_decoded() {
        // The header of a PNG of 60,000 x 60,000 pixels.
        let mut bytes = png();
        bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let mut crc = Vec::from(&bytes[12..29]);
        crc = crc32(&crc).to_be_bytes().to_vec();
        bytes[29..33].copy_from_slice(&crc);
        let refusal = decode_picture("image", &STANDARD.encode(bytes)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::TooLarge, "{refusal}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
