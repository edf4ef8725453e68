//! The entry `UserComment` of EXIF data, where programs look for settings in JPEG and WebP.
//!
//! Reference: Exif 2.32, 4.6.

const EXIF_DIRECTORY: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
const LONG: u16 = 4;
const UNDEFINED: u16 = 7;
const HEADER: u32 = 8;
/// Bytes of an entry of a directory.
const ENTRY: usize = 12;
/// What a comment begins with.
const ENCODING: usize = 8;
const UNICODE: &[u8; ENCODING] = b"UNICODE\0";

/// EXIF data with one entry, `UserComment`, as AUTOMATIC1111's web interface writes it: UTF-16, the high byte first.
pub(super) fn exif_with_comment(comment: &str) -> Vec<u8> {
    /// Number of entries, one entry, and where the next directory is.
    const DIRECTORY: u32 = 2 + ENTRY as u32 + 4;
    let directory = |tag: u16, kind: u16, count: u32, value: u32| {
        let (number_of_entries, next) = (1_u16.to_be_bytes(), 0_u32.to_be_bytes());
        let entry = [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &count.to_be_bytes(), &value.to_be_bytes()].concat();
        [&number_of_entries[..], &entry, &next].concat()
    };
    let text: Vec<u8> = UNICODE.iter().copied().chain(comment.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let header = [b"MM\0*".as_slice(), &HEADER.to_be_bytes()].concat();
    let main = directory(EXIF_DIRECTORY, LONG, 1, HEADER + DIRECTORY);
    let exif = directory(USER_COMMENT, UNDEFINED, text.len() as u32, HEADER + 2 * DIRECTORY);
    [header, main, exif, text].concat()
}

/// The `UserComment` of EXIF data, if they have one.
pub(super) fn comment_in_exif(exif: &[u8]) -> Option<String> {
    let is_little_endian = exif.starts_with(b"II*\0");
    if !is_little_endian && !exif.starts_with(b"MM\0*") {
        return None;
    }
    let tiff = Tiff { bytes: exif, is_little_endian };
    let exif_directory = tiff.find(tiff.long(4)?, EXIF_DIRECTORY)?;
    let comment = tiff.find(tiff.long(exif_directory + 8)?, USER_COMMENT)?;
    let (length, start) = (tiff.long(comment + 4)?, tiff.long(comment + 8)?);
    let bytes = exif.get(start..start.checked_add(length)?)?;
    let (encoding, text) = bytes.split_at_checked(ENCODING)?;
    Some(if encoding == UNICODE { utf16(text, is_little_endian) } else { String::from_utf8_lossy(text).into_owned() })
}

struct Tiff<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
}

impl Tiff<'_> {
    /// Where the entry with this tag begins in the directory at this place.
    fn find(&self, directory: usize, tag: u16) -> Option<usize> {
        let count = usize::from(self.short(directory)?);
        let mut entries = (0..count).map(|entry| directory + 2 + entry * ENTRY);
        entries.find(|&entry| self.short(entry) == Some(tag))
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_little_endian { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    }

    fn long(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        let number = if self.is_little_endian { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) };
        usize::try_from(number).ok()
    }
}

/// Text in UTF-16. Its byte order is that of the data, but for programs that write the high byte first in any case: as letters of
/// English are many in settings, zeros tell where the high bytes are.
fn utf16(text: &[u8], is_little_endian: bool) -> String {
    let zeros_at = |place: usize| text.iter().skip(place).step_by(2).filter(|&&byte| byte == 0).count();
    let is_low_first = is_little_endian && zeros_at(1) >= zeros_at(0);
    let (pairs, _) = text.as_chunks::<2>();
    let units = pairs.iter().map(|&pair| if is_low_first { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) });
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_of_other_programs_are_read() {
        // Little-endian, as many libraries write it: an entry before the one looked for, then the comment.
        let exif = |comment: &[u8]| {
            let length = (comment.len() as u32).to_le_bytes();
            [
                b"II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x69\x87\x04\0\x01\0\0\0\x26\0\0\0\0\0\0\0".as_slice(),
                b"\x01\0\x86\x92\x07\0",
                &length,
                b"\x38\0\0\0\0\0\0\0",
                comment,
            ]
            .concat()
        };
        let low_first: Vec<u8> = "UNICODE\0".bytes().chain("café".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let high_first: Vec<u8> = "UNICODE\0".bytes().chain("café".encode_utf16().flat_map(u16::to_be_bytes)).collect();
        for comment in [low_first.as_slice(), &high_first, "ASCII\0\0\0café".as_bytes(), "\0\0\0\0\0\0\0\0café".as_bytes()] {
            assert_eq!(comment_in_exif(&exif(comment)).as_deref(), Some("café"));
        }
    }

    #[test]
    fn damaged_data_have_no_comment_or_another_one() {
        let exif = exif_with_comment("a ring");
        assert_eq!(comment_in_exif(&exif).as_deref(), Some("a ring"));
        for end in 0..exif.len() {
            assert_eq!(comment_in_exif(&exif[..end]), None);
        }
        for at in 0..exif.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = exif.clone();
                damaged[at] = value;
                let _ = comment_in_exif(&damaged);
            }
        }
    }
}
