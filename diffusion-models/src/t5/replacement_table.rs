//! The table of character replacements of a `SentencePiece` model, checked before it is used.
//!
//! The crates that search it take it at its word: they make room for as many units as it claims, and panic where one points
//! outside.
//!
//! Reference: sentencepiece `src/normalizer.cc`, and the double array of darts-clone.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokenizers::normalizers::Precompiled;

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("the table of character replacements is not base64")]
    Encoding(#[from] base64::DecodeError),
    #[error("the table of character replacements is cut, or its texts are not UTF-8")]
    Cut,
    #[error("entry {index} of the table of character replacements points outside of it")]
    Outside { index: usize },
    #[error("the table of character replacements replaces a character by {length} bytes")]
    Long { length: usize },
}

/// The longest replacement; the longest of Unicode's compatibility mappings has 33 bytes.
const MOST_BYTES: usize = 256;

/// A table: the size of a trie in bytes, the trie, and the texts that its leaves point into.
pub(super) fn read(encoded: &str) -> Result<Precompiled, TableError> {
    let bytes = BASE64_STANDARD.decode(encoded)?;
    let (size, rest) = bytes.split_first_chunk().ok_or(TableError::Cut)?;
    let size = u32::from_le_bytes(*size) as usize;
    let (trie, texts) = rest.split_at_checked(size).filter(|_| size > 0 && size.is_multiple_of(4)).ok_or(TableError::Cut)?;
    let texts = std::str::from_utf8(texts).map_err(|_| TableError::Cut)?;
    check(trie, texts)?;
    Precompiled::from(&bytes).map_err(|_| TableError::Cut)
}

/// Every unit that can be reached leads to units and texts that there are.
fn check(trie: &[u8], texts: &str) -> Result<(), TableError> {
    /// Marks the units that hold a text's place.
    const VALUE: u32 = 1 << 31;
    let units: Vec<u32> = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    for (index, &unit) in units.iter().enumerate().filter(|(_, unit)| *unit & VALUE == 0) {
        let outside = TableError::Outside { index };
        // The children of a unit are in the block of 256 that its offset leads to.
        let children = index ^ ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6);
        if children | 0xFF >= units.len() {
            return Err(outside);
        }
        let has_text = unit >> 8 & 1 == 1;
        if has_text {
            let start = (units[children] & !VALUE) as usize;
            let text = texts.get(start..).ok_or(outside)?;
            let length = text.find('\0').unwrap_or(text.len());
            if length > MOST_BYTES {
                return Err(TableError::Long { length });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(units: &[u32], texts: &[u8]) -> String {
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        BASE64_STANDARD.encode([&(trie.len() as u32).to_le_bytes()[..], &trie, texts].concat())
    }

    #[test]
    fn a_table_that_points_outside_of_itself_is_refused() {
        let empty = vec![0_u32; 256];
        assert!(read(&table(&empty, b"a\0")).is_ok());
        let with = |index: usize, unit: u32| {
            let mut units = empty.clone();
            units[index] = unit;
            units
        };
        // A root whose children are beyond the end, one that is nothing at all, and a text that is not there.
        assert!(matches!(read(&table(&with(0, 300 << 10), b"")), Err(TableError::Outside { index: 0 })));
        assert!(matches!(read(&table(&[], b"abc")), Err(TableError::Cut)));
        assert!(matches!(read(&table(&empty[..255], b"")), Err(TableError::Outside { .. })));
        let far = {
            let mut units = with(7, 1 << 8 | u32::from(b'a'));
            units[7] |= 1 << 10;
            units[6] = (1 << 31) + 500;
            units
        };
        assert!(matches!(read(&table(&far, b"short")), Err(TableError::Outside { index: 7 })));
        assert!(matches!(read("!"), Err(TableError::Encoding(_))));
        // Sizes that are not there make nobody reserve memory.
        assert!(matches!(read(&BASE64_STANDARD.encode([0xFF; 8])), Err(TableError::Cut)));
        assert!(matches!(read(&BASE64_STANDARD.encode([1, 0])), Err(TableError::Cut)));
    }

    #[test]
    fn a_replacement_of_any_length_is_refused() {
        let mut units = vec![0_u32; 256];
        units[7] = 1 << 10 | 1 << 8 | u32::from(b'a');
        units[6] = 1 << 31;
        assert!(read(&table(&units, b"b\0")).is_ok());
        assert!(matches!(read(&table(&units, &[b'b'; 300])), Err(TableError::Long { length: 300 })));
    }
}
