//! Files that a user names, read whole and with a bound.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFileError {
    /// The file cannot be opened or read.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is a folder, a device, or a pipe to which perhaps nobody will ever write.
    #[error("{} is {found}, not a file; give a file", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file is larger than any of its kind.
    #[error("{} has more than {limit} bytes, which is more than any {kind} has", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it is taken for.
        kind: &'static str,
        /// Most bytes that are read.
        limit: u64,
    },
}

/// The bytes of a file, `kind` of thing, which has at most `limit` of them.
///
/// A pipe is read if the shell opened it (`/dev/stdin`, or `<(...)`); one with a name would be waited for without end.
///
/// # Errors
/// [`ReadFileError`] naming the file.
pub fn read_bounded(path: &Path, kind: &'static str, limit: u64) -> Result<Vec<u8>, ReadFileError> {
    let open = |source| ReadFileError::Open { path: path.to_owned(), source };
    // Before it is opened: opening a pipe waits for whoever writes.
    let metadata = fs::metadata(path).map_err(open)?;
    let ends = metadata.is_file() || is_already_open(path) && is_pipe(&metadata);
    if !ends {
        let found = if metadata.is_dir() { "a folder" } else { "a device or a pipe" };
        return Err(ReadFileError::NoFile { path: path.to_owned(), found });
    }
    let too_large = || ReadFileError::TooLarge { path: path.to_owned(), kind, limit };
    if metadata.is_file() && metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(open)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Whether a path names what a process was given open, such as its standard input.
pub(crate) fn is_already_open(path: &Path) -> bool {
    let names = ["/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
    names.iter().any(|name| path.starts_with(name))
}

#[cfg(unix)]
fn is_pipe(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "five!").unwrap();
        assert_eq!(read_bounded(&path, "note", 5).unwrap(), b"five!");
        let error = read_bounded(&path, "note", 4).unwrap_err().to_string();
        assert!(error.contains("notes.txt has more than 4 bytes") && error.contains("any note"), "{error}");
    }

    #[test]
    fn folders_devices_and_pipes_are_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read_bounded(path, "note", 9).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("is a folder, not a file"));
        assert!(refused(&folder.path().join("nowhere")).contains("cannot open"));
        if cfg!(unix) {
            assert!(refused(Path::new("/dev/zero")).contains("/dev/zero is a device or a pipe, not a file"));
            let pipe = folder.path().join("pipe");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            assert!(refused(&pipe).contains("is a device or a pipe, not a file"));
        }
    }

    /// As `/dev/stdin` and the shell's `<(...)` are.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_that_is_open_already_is_read() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"piped").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        assert_eq!(read_bounded(&path, "note", 9).unwrap(), b"piped");
    }
}
