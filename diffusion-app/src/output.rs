//! Output files: whole or not at all. Devices, pipes and links stay what they are.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use diffusion_core::files::UnfinishedFile;

use crate::input_file::is_already_open;

/// The name of standard output among paths.
pub const STDOUT: &str = "-";

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}{}", name(path), advice(source))]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

fn name(path: &Path) -> String {
    if path == Path::new(STDOUT) { "standard output".to_owned() } else { path.display().to_string() }
}

/// What to do about an error.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; choose a folder that exists",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "; choose a folder that you may write to",
        io::ErrorKind::IsADirectory => "; it is a folder, so add the name of a file in it",
        io::ErrorKind::InvalidFilename => "; choose a shorter name",
        io::ErrorKind::StorageFull => "; make room on the disk",
        _ => "",
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A file, which is replaced whole, or a new one.
    File,
    /// A device or standard output, which one output after the other goes into.
    Stream,
    /// A pipe with a name, whose reader sees an end after one output.
    Pipe,
}

/// What a path leads to.
///
/// # Errors
/// [`WriteError`] if it is nothing that can be written, such as a folder.
pub fn output_kind(path: &Path) -> Result<OutputKind, WriteError> {
    match destination(path).map_err(|source| WriteError { path: path.to_owned(), source })? {
        Destination::File => Ok(OutputKind::File),
        Destination::Stdout | Destination::Stream { is_pipe: false } => Ok(OutputKind::Stream),
        Destination::Stream { is_pipe: true } => Ok(OutputKind::Pipe),
    }
}

/// Check that a file can be written, before work is spent on what goes into it.
///
/// # Errors
/// [`WriteError`] if no file can be made beside it, or what is there cannot be written.
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    let attempt = || match destination(path)? {
        Destination::File => UnfinishedFile::beside(path).map(drop),
        // Not opened: whoever reads a pipe would see its end when it is closed again.
        Destination::Stream { .. } => may_write(path),
        Destination::Stdout => Ok(()),
    };
    attempt().map_err(|source| WriteError { path: path.to_owned(), source })
}

/// Write a file under a temporary name in its folder, and give it its own when it is whole.
///
/// A link is followed, and the file at its end replaced, which keeps its permissions. What is no file, such as a device or a
/// pipe, is written into; [`STDOUT`] is standard output.
///
/// # Errors
/// [`WriteError`]; a file that was at `path` before is then still there.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    let attempt = || match destination(path)? {
        Destination::File => {
            let mut file = UnfinishedFile::beside(path)?;
            buffered(&mut file, write)?;
            file.persist()
        }
        Destination::Stream { .. } => buffered(&mut OpenOptions::new().write(true).open(path)?, write),
        Destination::Stdout => buffered(&mut stdout().lock(), write),
    };
    attempt().map_err(|source| WriteError { path: path.to_owned(), source })
}

fn buffered(to: &mut impl Write, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = io::BufWriter::new(to);
    write(&mut buffer)?;
    buffer.flush()
}

/// The same path with more in its name, before the extension: `image.png` and `-2` give `image-2.png`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Where an output goes.
enum Destination {
    /// To the file at the end of all links.
    File,
    /// Into what is there.
    Stream { is_pipe: bool },
    /// To standard output.
    Stdout,
}

fn destination(path: &Path) -> io::Result<Destination> {
    if path == Path::new(STDOUT) || path == Path::new("/dev/stdout") {
        let on_terminal = || io::Error::other("standard output is a terminal; send it to a file or a program");
        return if stdout().is_terminal() { Err(on_terminal()) } else { Ok(Destination::Stdout) };
    }
    // To Rust, `new.png/` is a file.
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() && !is_already_open(path) => Ok(Destination::File),
        Ok(found) if is_disk(&found) => Err(io::Error::other("it is a disk, whose contents would be lost")),
        Ok(found) => Ok(Destination::Stream { is_pipe: is_pipe(&found) && !is_already_open(path) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Destination::File),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn is_pipe(found: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type())
}

#[cfg(unix)]
fn is_disk(found: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&found.file_type())
}

#[cfg(unix)]
fn may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn is_disk(_: &fs::Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn may_write(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> Result<(), WriteError> {
        write_whole(path, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_that_is_not_written_whole_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        write(&path, "whole").unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"ha")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failed.unwrap_err().to_string().contains("notes.txt; make room"));
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_found_out_before() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path, words: &str| {
            let error = check_writable(path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(write(path, "text").is_err());
        };
        assert!(check_writable(&folder.path().join("new.png")).is_ok());
        refused(folder.path(), "it is a folder");
        refused(&folder.path().join("nowhere/new.png"), "choose a folder that exists");
        refused(&folder.path().join("new.png/"), "it is a folder");
        refused(&folder.path().join("a".repeat(300)), if cfg!(unix) { "choose a shorter name" } else { "cannot write" });
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_suffix_goes_before_the_extension() {
        for (path, expected) in [("a/b.png", "a/b-2.png"), ("b", "b-2"), ("b.c.webp", "b.c-2.webp"), (".png", ".png-2")] {
            assert_eq!(with_suffix(Path::new(path), "-2"), Path::new(expected));
        }
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{PermissionsExt, symlink};
        use std::process::Command;

        use super::*;

        #[test]
        fn links_are_followed_and_permissions_kept() {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            fs::create_dir(at("elsewhere")).unwrap();
            fs::write(at("elsewhere/target.png"), "old").unwrap();
            fs::set_permissions(at("elsewhere/target.png"), fs::Permissions::from_mode(0o640)).unwrap();
            symlink("elsewhere/target.png", at("link.png")).unwrap();
            symlink("link.png", at("link to link.png")).unwrap();
            symlink("elsewhere/new.png", at("dangling.png")).unwrap();
            symlink("itself.png", at("itself.png")).unwrap();

            check_writable(&at("link to link.png")).unwrap();
            write(&at("link to link.png"), "new").unwrap();
            assert_eq!(fs::read(at("elsewhere/target.png")).unwrap(), b"new");
            assert_eq!(fs::metadata(at("elsewhere/target.png")).unwrap().permissions().mode() & 0o777, 0o640);
            assert_eq!(fs::read_link(at("link to link.png")).unwrap(), Path::new("link.png"));

            check_writable(&at("dangling.png")).unwrap();
            write(&at("dangling.png"), "made").unwrap();
            assert_eq!(fs::read(at("elsewhere/new.png")).unwrap(), b"made");
            assert!(fs::symlink_metadata(at("dangling.png")).unwrap().is_symlink());

            assert!(check_writable(&at("itself.png")).is_err() && write(&at("itself.png"), "").is_err());
            assert_eq!(fs::read_dir(at("elsewhere")).unwrap().count(), 2);
        }

        #[test]
        fn pipes_are_written_into_and_stay() {
            let folder = tempfile::tempdir().unwrap();
            let pipe = folder.path().join("pipe");
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            assert_eq!(output_kind(&pipe).unwrap(), OutputKind::Pipe);
            // With nobody there who reads.
            check_writable(&pipe).unwrap();
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::read(pipe).unwrap()
            });
            write(&pipe, "through").unwrap();
            assert_eq!(reader.join().unwrap(), b"through");
            assert_eq!(output_kind(&pipe).unwrap(), OutputKind::Pipe);
        }

        #[test]
        fn devices_are_written_into() {
            let null = Path::new("/dev/null");
            assert_eq!(output_kind(null).unwrap(), OutputKind::Stream);
            check_writable(null).unwrap();
            write(null, "nothing").unwrap();
            assert!(std::os::unix::fs::FileTypeExt::is_char_device(&fs::metadata(null).unwrap().file_type()));
            if cfg!(target_os = "linux") {
                let error = write(Path::new("/dev/full"), "much").unwrap_err().to_string();
                assert_eq!(error, "cannot write /dev/full; make room on the disk");
            }
        }
    }
}
