//! Ordinary files, told from what only looks like one.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// The longest text that is read, in bytes: the largest tokenizers take 20 MB, indices of shards 0.2 MB.
const MOST_TEXT: u64 = 100 << 20;

/// What editors on Windows put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Open a file for reading, if it is an ordinary one; links are followed.
///
/// Opening a pipe would wait for its other end, and a device may never end.
///
/// # Errors
/// What the operating system says, or that it is a folder, a pipe, a device or a socket.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    refuse_special(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    // It may be another one by now.
    refuse_special(&file.metadata()?)?;
    Ok(file)
}

/// The text of an ordinary file, without a byte order mark.
///
/// # Errors
/// As [`open_regular_file`]; that it is longer than 100 MiB, or no UTF-8 text.
pub fn read_text(path: &Path) -> io::Result<String> {
    let file = open_regular_file(path)?;
    let mut text = String::new();
    file.take(MOST_TEXT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_TEXT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {} MB", MOST_TEXT / 1_000_000)));
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        text.remove(0);
    }
    Ok(text)
}

/// Refuse what is no ordinary file.
pub(super) fn refuse_special(metadata: &Metadata) -> io::Result<()> {
    let (kind, what) = match metadata.file_type() {
        file if file.is_file() => return Ok(()),
        file if file.is_dir() => (io::ErrorKind::IsADirectory, "a folder"),
        file => (io::ErrorKind::InvalidInput, special(file)),
    };
    Err(io::Error::new(kind, format!("it is {what}, expected an ordinary file")))
}

#[cfg(unix)]
fn special(file: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match file {
        file if file.is_fifo() => "a pipe",
        file if file.is_socket() => "a socket",
        file if file.is_char_device() || file.is_block_device() => "a device",
        _ => "something special",
    }
}

#[cfg(not(unix))]
fn special(_: fs::FileType) -> &'static str {
    "something special"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_files_are_opened_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "\u{feff}{}").unwrap();
        assert_eq!(read_text(&path).unwrap(), "{}");
        assert!(open_regular_file(folder.path()).unwrap_err().to_string().contains("a folder"));
        assert_eq!(open_regular_file(&folder.path().join("b")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read_text(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_sockets_are_refused_at_once_through_links_too() {
        let folder = tempfile::tempdir().unwrap();
        let [socket, link] = ["socket", "link"].map(|name| folder.path().join(name));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for (path, named) in [(Path::new("/dev/zero"), "a device"), (&link, "a device"), (&socket, "a socket")] {
            assert!(open_regular_file(path).unwrap_err().to_string().contains(named));
            assert!(read_text(path).unwrap_err().to_string().contains(named));
        }
    }
}
