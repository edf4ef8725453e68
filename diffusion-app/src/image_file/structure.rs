//! What decoders do not look at before they allocate and decode: whether a file is whole, and whether it can hold what it claims.

use std::io::{Cursor, Read};

use image::ImageFormat;

/// What is wrong with a file before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The file ends before the image does.
    Cut,
    /// A part of it claims to be larger than the file can hold.
    Hollow,
}

/// Most pixels that an image may have whatever its file's size.
const FREE_PIXELS: u64 = 4 << 20;

/// Whether a file of so many bytes can hold so many pixels of so many bits: the best that each format can do, nearly.
///
/// Files of a few hundred bytes would otherwise take gigabytes of memory to find out that they end after a few pixels.
pub(super) fn can_hold(format: ImageFormat, num_bytes: usize, num_pixels: u64, bits_per_pixel: u16) -> bool {
    /// Deflate's best: 258 bytes in two bits.
    const DEFLATE: u64 = 1032;
    let pixels_per_byte = match format {
        // A bit for every block of 8 x 8 pixels.
        ImageFormat::Jpeg => 8 * 64,
        // A code of 9 to 12 bits for at most 4096 pixels. WebP has no bound; what is evener than this is blank.
        ImageFormat::Gif | ImageFormat::WebP => 4096,
        // Two bytes for a run of 255 pixels.
        ImageFormat::Bmp => 128,
        _ => DEFLATE * 8 / u64::from(bits_per_pixel.max(1)),
    };
    num_pixels <= FREE_PIXELS.max(pixels_per_byte.saturating_mul(num_bytes as u64))
}

/// Look through the parts of a file for what decoders trust.
pub(super) fn check(format: ImageFormat, bytes: &[u8]) -> Result<(), Flaw> {
    match format {
        ImageFormat::Jpeg if !has_end_of_jpeg(bytes) => Err(Flaw::Cut),
        ImageFormat::WebP => check_webp(bytes),
        ImageFormat::Tiff => check_tiff(bytes),
        _ => Ok(()),
    }
}

/// Whether a JPEG has its end-of-image marker, which the decoder does without, filling with grey. What follows it does not
/// count: cameras and editors put previews and more there.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    const TEMPORARY: u8 = 0x01;
    const RESTART_0: u8 = 0xd0;
    const START_OF_IMAGE: u8 = 0xd8;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut rest = bytes;
    // Between segments there are image data, in which a zero follows every 0xff.
    while let Some(marker) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[marker + 1..];
        match rest {
            [END_OF_IMAGE, ..] => return true,
            // Bytes to fill with; the next one decides.
            [0xff, ..] => {}
            [0 | TEMPORARY | RESTART_0..=START_OF_IMAGE, after @ ..] => rest = after,
            [_, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let Some(after) = rest.get(1 + length..) else { return false };
                rest = after;
            }
            _ => return false,
        }
    }
    false
}

/// Chunks of a WebP end where the file does at the latest, and no frame is larger than the canvas may be.
fn check_webp(bytes: &[u8]) -> Result<(), Flaw> {
    const HEADER: usize = 8;
    let size_of =
        |chunk: &[u8]| chunk.get(4..HEADER).map(|size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize);
    let riff = size_of(bytes).and_then(|size| bytes.get(HEADER..HEADER.checked_add(size)?)).ok_or(Flaw::Cut)?;
    let mut chunks = riff.get(4..).ok_or(Flaw::Cut)?;
    while let Some(size) = size_of(chunks) {
        let chunk = chunks.get(HEADER..HEADER + size).ok_or(Flaw::Cut)?;
        match &chunks[..4] {
            b"VP8 " => check_lossy_frame(chunk, bytes.len())?,
            // What describes a frame of an animation takes 16 bytes, and then come chunks.
            b"ANMF" => {
                let mut parts = chunk.get(16..).unwrap_or(&[]);
                while let Some(size) = size_of(parts) {
                    let part = parts.get(HEADER..HEADER + size).ok_or(Flaw::Cut)?;
                    if parts.starts_with(b"VP8 ") {
                        check_lossy_frame(part, bytes.len())?;
                    }
                    parts = parts.get(HEADER + size.next_multiple_of(2)..).unwrap_or(&[]);
                }
            }
            _ => {}
        }
        chunks = chunks.get(HEADER + size.next_multiple_of(2)..).unwrap_or(&[]);
    }
    Ok(())
}

/// The decoder takes memory for a frame before it compares the frame's size with the image's.
fn check_lossy_frame(frame: &[u8], num_bytes: usize) -> Result<(), Flaw> {
    const SIZE_BITS: u16 = 0x3fff;
    let Some(&[width_low, width_high, height_low, height_high]) = frame.get(6..10) else { return Err(Flaw::Cut) };
    let side = |low, high| u64::from(u16::from_le_bytes([low, high]) & SIZE_BITS);
    let num_pixels = side(width_low, width_high) * side(height_low, height_high);
    if can_hold(ImageFormat::WebP, num_bytes, num_pixels, 24) { Ok(()) } else { Err(Flaw::Hollow) }
}

/// The lists in the first directory of a TIFF lie in the file, and no JPEG in it claims more than the file holds.
fn check_tiff(bytes: &[u8]) -> Result<(), Flaw> {
    TiffDirectory::find(bytes).map_or(Err(Flaw::Cut), |directory| directory.check())
}

/// The first directory of a TIFF, be it one with numbers of 32 or of 64 bits.
struct TiffDirectory<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
    is_big_tiff: bool,
    start: u64,
}

impl<'a> TiffDirectory<'a> {
    fn find(bytes: &'a [u8]) -> Option<Self> {
        const BIG_TIFF: u64 = 43;
        let mut directory = Self { bytes, is_little_endian: bytes.starts_with(b"II"), is_big_tiff: false, start: 0 };
        directory.is_big_tiff = directory.number(2, 2)? == BIG_TIFF;
        directory.start = if directory.is_big_tiff { directory.number(8, 8)? } else { directory.number(4, 4)? };
        (directory.start < bytes.len() as u64).then_some(directory)
    }

    /// The number of so many bytes at a place in the file.
    fn number(&self, at: u64, size: usize) -> Option<u64> {
        let mut number = Vec::with_capacity(size);
        let mut place = Cursor::new(self.bytes);
        place.set_position(at);
        place.take(size as u64).read_to_end(&mut number).ok().filter(|&read| read == size)?;
        if self.is_little_endian {
            number.reverse();
        }
        Some(number.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte)))
    }

    fn check(&self) -> Result<(), Flaw> {
        const COMPRESSION: u64 = 259;
        const JPEG: u64 = 7;
        let (count_size, entry_size, field_size) = if self.is_big_tiff { (8, 20, 8) } else { (2, 12, 4) };
        let num_entries = self.number(self.start, count_size).ok_or(Flaw::Cut)?;
        if num_entries > self.bytes.len() as u64 / entry_size {
            return Err(Flaw::Cut);
        }
        for entry in 0..num_entries {
            let at = self.start + count_size as u64 + entry * entry_size;
            let count = self.number(at + 4, field_size).ok_or(Flaw::Cut)?;
            if count > self.bytes.len() as u64 {
                return Err(Flaw::Cut);
            }
            let is_jpeg = self.number(at, 2) == Some(COMPRESSION) && self.number(at + 4 + field_size as u64, 2) == Some(JPEG);
            if is_jpeg && !self.holds_its_jpegs() {
                return Err(Flaw::Hollow);
            }
        }
        Ok(())
    }

    /// Whether the file can hold what looks like the start of a frame of a JPEG, of 8 bits a sample.
    fn holds_its_jpegs(&self) -> bool {
        self.bytes.windows(9).all(|window| match *window {
            [0xff, 0xc0..=0xc2, 0, _, 8, height_high, height_low, width_high, width_low] => {
                let side = |high, low| u64::from(u16::from_be_bytes([high, low]));
                let num_pixels = side(height_high, height_low) * side(width_high, width_low);
                can_hold(ImageFormat::Jpeg, self.bytes.len(), num_pixels, 24)
            }
            _ => true,
        })
    }
}
