//! Prompts in text files, one in each line.

use std::path::{Path, PathBuf};

use crate::input_file::{ReadFileError, read_bounded};

/// Most bytes of a file with prompts.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why prompts could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptsFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadFileError),
    /// The file is text in another encoding, or no text.
    #[error("{}, line {line}: {problem}; save the file as UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// The file has empty lines only.
    #[error("{} has no prompt; write one in each line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The prompts of a file. Empty lines do not count, nor does space around a prompt.
///
/// The file is UTF-8, with or without a byte order mark, or UTF-16 with one.
///
/// # Errors
/// [`PromptsFileError`] naming the file, and the line where there is one.
pub fn read_prompts(path: &Path) -> Result<Vec<String>, PromptsFileError> {
    parse_prompts(&read_bounded(path, "file with prompts", MAX_BYTES)?, path)
}

/// The prompts in the bytes of a file, as [`read_prompts`] gives them. Errors name `path`.
///
/// # Errors
/// [`PromptsFileError`] naming the file, and the line where there is one.
pub fn parse_prompts(bytes: &[u8], path: &Path) -> Result<Vec<String>, PromptsFileError> {
    let refuse = |before: &str, problem| {
        let line = 1 + before.matches('\n').count();
        PromptsFileError::Encoding { path: path.to_owned(), line, problem }
    };
    let text = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(refuse("", "this is UTF-32")),
        [0xff, 0xfe, units @ ..] => utf_16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => utf_16(units, u16::from_be_bytes),
        _ => utf_8(bytes),
    };
    let text = text.map_err(|(before, problem)| refuse(&before, problem))?;
    if let Some((before, _)) = text.split_once('\0') {
        return Err(refuse(before, "there is a NUL character, so this is UTF-16 without a byte order mark, or no text"));
    }
    // Where files were joined, a byte order mark stands before any line.
    let line = |line: &str| line.trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace()).to_owned();
    let prompts: Vec<_> = text.split(['\n', '\r']).map(line).filter(|line| !line.is_empty()).collect();
    if prompts.is_empty() { Err(PromptsFileError::Empty { path: path.to_owned() }) } else { Ok(prompts) }
}

/// A text, or what can be read of it and what comes then.
type Decoded = Result<String, (String, &'static str)>;

fn utf_8(bytes: &[u8]) -> Decoded {
    str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
        (before, "this is not UTF-8")
    })
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Decoded {
    let (units, rest) = bytes.as_chunks();
    let mut text = String::with_capacity(units.len());
    for character in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => return Err((text, "this is not UTF-16, which the file's first bytes say it is")),
        }
    }
    if rest.is_empty() { Ok(text) } else { Err((text, "this UTF-16 text ends in the middle of a character")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(bytes: &[u8]) -> Result<Vec<String>, String> {
        parse_prompts(bytes, Path::new("prompts.txt")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_encoding_that_editors_write_gives_the_same_prompts() {
        let text = "a red house\r\n\r\n  un café, 猫 🙂\t\nlast";
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        let expected = vec!["a red house".to_owned(), "un café, 猫 🙂".to_owned(), "last".to_owned()];
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}\n").into_bytes(),
            text.replace("\r\n", "\r").into_bytes(),
            text.replace("\r\n", "\r\n\u{feff}").into_bytes(),
            utf_16(u16::to_le_bytes),
            utf_16(u16::to_be_bytes),
        ] {
            assert_eq!(prompts(&bytes).unwrap(), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_not_text_is_refused_by_its_line() {
        for (bytes, words) in [
            (&b"a house\nun caf\xe9\n"[..], "prompts.txt, line 2: this is not UTF-8; save the file as UTF-8"),
            (b"a\0 \0h\0", "line 1: there is a NUL character, so this is UTF-16 without"),
            (b"\xff\xfea\0\n\0\x00\xd8b\0", "line 2: this is not UTF-16"),
            (b"\xfe\xff\0a\0\n\0\n\0", "line 3: this UTF-16 text ends in the middle"),
            (b"\xff\xfe\0\0a\0\0\0", "line 1: this is UTF-32"),
            (b"\xef\xbb\xbf \n\r\n", "prompts.txt has no prompt"),
            (b"", "prompts.txt has no prompt"),
            (b"\xff\xfe", "prompts.txt has no prompt"),
        ] {
            let error = prompts(bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.txt");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = read_prompts(&path).unwrap_err().to_string();
        assert!(error.contains("prompts.txt has more than 1048576 bytes"), "{error}");
    }
}
