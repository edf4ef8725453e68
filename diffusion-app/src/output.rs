//! Output files: whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use diffusion_core::files::UnfinishedFile;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}; choose a folder that exists and that you may write to", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

/// Check that a file can be written, before work is spent on what goes into it.
///
/// # Errors
/// [`WriteError`] if no file can be made beside it, or it is a folder.
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    let refuse = |source| WriteError { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(refuse(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    temporary_beside(path).map(drop).map_err(refuse)
}

/// Write a file under a temporary name in its folder, and give it its own when it is whole.
///
/// # Errors
/// [`WriteError`]; what was at `path` before is then still there.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let attempt = || {
        let mut file = temporary_beside(path)?;
        {
            let mut buffer = io::BufWriter::new(&mut file);
            write(&mut buffer)?;
            buffer.flush()?;
        }
        file.persist()
    };
    attempt().map_err(|source| WriteError { path: path.to_owned(), source })
}

fn temporary_beside(path: &Path) -> io::Result<UnfinishedFile> {
    UnfinishedFile::beside(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_written_whole_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        write_whole(&path, |file| file.write_all(b"whole")).unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"ha")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failed.unwrap_err().to_string().contains("notes.txt"));
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn folders_and_files_in_no_folder_are_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_writable(&folder.path().join("new.png")).is_ok());
        assert!(check_writable(folder.path()).is_err());
        assert!(check_writable(&folder.path().join("nowhere/new.png")).is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
