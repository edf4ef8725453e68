//! The settings that programs write into pictures.

use std::io::{Cursor, Read};

use flate2::read::ZlibDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ImageDecoder, ImageFormat};

use super::exif::comment_in_exif;
use super::limits;

/// The keyword of the text in a PNG.
pub(super) const KEYWORD: &str = "parameters";
/// Most bytes of settings that are read: a hundred times as many as any prompt has.
const MAX_TEXT: usize = 1 << 20;

/// The settings in a picture, if it has some: the text `parameters` of a PNG, or the EXIF `UserComment` of a JPEG or WebP.
///
/// They are read without decoding the picture, in memory bounded by its file's size. What is damaged has none.
pub fn read_parameters(bytes: &[u8]) -> Option<String> {
    let exif = match image::guess_format(bytes).ok()? {
        ImageFormat::Png => return text_in_png(bytes),
        ImageFormat::Jpeg => exif_of(JpegDecoder::new(Cursor::new(bytes)).ok()?),
        ImageFormat::WebP => exif_of(WebPDecoder::new(Cursor::new(bytes)).ok()?),
        _ => None,
    }?;
    comment_in_exif(&exif).filter(|comment| comment.len() <= MAX_TEXT)
}

fn exif_of(mut decoder: impl ImageDecoder) -> Option<Vec<u8>> {
    decoder.set_limits(limits(0)).ok()?;
    decoder.exif_metadata().ok()?
}

/// Whether a text may stand in a plain text chunk, which holds Latin-1 only. Many programs write UTF-8 there all the same, so
/// what looks like it is none.
pub(super) fn is_plain_text(text: &str) -> bool {
    let latin_1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    latin_1.is_some_and(|bytes| bytes.is_ascii() || std::str::from_utf8(&bytes).is_err())
}

/// The text of the first chunk of its kind with the keyword, wherever it stands.
///
/// Reference: PNG specification, third edition, 11.3.3.
fn text_in_png(bytes: &[u8]) -> Option<String> {
    const SIGNATURE: usize = 8;
    let mut rest = bytes.get(SIGNATURE..)?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (data, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if let Some(text) = data.strip_prefix(KEYWORD.as_bytes()).and_then(|data| data.strip_prefix(b"\0"))
            && let Some(text) = text_of_chunk(*kind, text)
        {
            return Some(text);
        }
        // Without the checksum.
        rest = after.get(4..)?;
    }
    None
}

/// The text of a chunk, after its keyword.
fn text_of_chunk(kind: [u8; 4], data: &[u8]) -> Option<String> {
    match &kind {
        b"tEXt" if data.len() <= MAX_TEXT => Some(plain(data)),
        b"zTXt" => inflated(data.strip_prefix(b"\0")?).map(|text| plain(&text)),
        b"iTXt" => {
            let [is_packed, _method, rest @ ..] = data else { return None };
            // The language, and the keyword in that language.
            let text = rest.splitn(3, |&byte| byte == 0).nth(2)?;
            let text = if *is_packed == 0 { text.to_vec() } else { inflated(text)? };
            String::from_utf8(text).ok().filter(|text| text.len() <= MAX_TEXT)
        }
        _ => None,
    }
}

/// Latin-1, or UTF-8 where it is that.
fn plain(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
}

/// What was packed, unless it is more than is read.
fn inflated(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    ZlibDecoder::new(packed).take(MAX_TEXT as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= MAX_TEXT).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use diffusion_core::image::RgbImage;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::super::{JPEG_QUALITY, OutputFormat, encode_image};
    use super::*;

    fn image() -> RgbImage {
        RgbImage { width: 4, height: 2, pixels: (0..24).map(|level| level * 10).collect() }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "([\\u{1}-\\u{ff}]{0,20}|[^\\u{0}]{0,40})") {
            for format in [OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::WebP] {
                let bytes = encode_image(&image(), format, JPEG_QUALITY, &text).unwrap();
                prop_assert_eq!(read_parameters(&bytes), Some(text.clone()), "{:?}", format);
            }
        }
    }

    /// A PNG with nothing but a chunk.
    fn png_with(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_be_bytes();
        [b"\x89PNG\r\n\x1a\n".as_slice(), &length, &kind, data, &[0; 4]].concat()
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_kind_of_text_is_read() {
        let read = |kind: &[u8; 4], data: &[u8]| read_parameters(&png_with(*kind, data));
        assert_eq!(read(b"tEXt", b"parameters\0caf\xe9").as_deref(), Some("café"));
        // As stable-diffusion.cpp and others have it.
        assert_eq!(read(b"tEXt", "parameters\0猫".as_bytes()).as_deref(), Some("猫"));
        assert_eq!(read(b"zTXt", &[b"parameters\0\0", packed(b"a ring").as_slice()].concat()).as_deref(), Some("a ring"));
        assert_eq!(read(b"iTXt", "parameters\0\0\0en\0Parameter\0猫".as_bytes()).as_deref(), Some("猫"));
        let packed_utf8 = [b"parameters\0\x01\0\0\0", packed("猫".as_bytes()).as_slice()].concat();
        assert_eq!(read(b"iTXt", &packed_utf8).as_deref(), Some("猫"));
        assert_eq!(read(b"tEXt", b"Comment\0a ring"), None);
        assert_eq!(read(b"tEXt", b"parameters"), None);
    }

    /// A gigabyte of one letter takes a megabyte.
    #[test]
    fn texts_that_are_too_long_are_none() {
        let bomb = packed(&vec![b'a'; MAX_TEXT + 1]);
        assert_eq!(read_parameters(&png_with(*b"zTXt", &[b"parameters\0\0", bomb.as_slice()].concat())), None);
        assert_eq!(read_parameters(&png_with(*b"iTXt", &[b"parameters\0\x01\0\0\0", bomb.as_slice()].concat())), None);
    }

    #[test]
    fn damaged_files_have_no_settings_and_end_nothing() {
        for format in [OutputFormat::Png, OutputFormat::Jpeg, OutputFormat::WebP] {
            let bytes = encode_image(&image(), format, JPEG_QUALITY, "a ring").unwrap();
            for end in 0..bytes.len() {
                let found = read_parameters(&bytes[..end]);
                assert!(found.is_none() || found.as_deref() == Some("a ring"), "{format:?} {end}");
            }
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] = value;
                    let _ = read_parameters(&damaged);
                }
            }
        }
        assert_eq!(read_parameters(b"no image"), None);
    }
}
