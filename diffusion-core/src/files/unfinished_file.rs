//! Files that are written under another name until they are whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use super::regular_file::refuse_special;

const PREFIX: &str = ".unfinished-";
const SUFFIX: &str = ".part";
/// Random letters and digits between them.
const RANDOM: usize = 6;

/// Links that lead to links are followed so far, as the operating system does.
const MOST_LINKS: usize = 40;

/// A file without its name: it lies beside its place, and goes away unless it gets there.
///
/// While it is written it is locked, so that what a killed program left behind can be told from what another one writes. Left
/// ones are removed when a program writes into the same folder again. A program that ends at a signal calls
/// [`remove_unfinished_files`].
///
/// ```
/// use std::io::Write;
/// use diffusion_core::files::UnfinishedFile;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("notes.txt");
/// let mut file = UnfinishedFile::beside(&path)?;
/// file.write_all(b"all of it")?;
/// assert!(!path.exists());
/// file.persist()?;
/// assert_eq!(std::fs::read(&path)?, b"all of it");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnfinishedFile {
    // Dropped in this order: what is removed needs to be known no more.
    file: NamedTempFile,
    place: PathBuf,
    _known: Known,
}

impl UnfinishedFile {
    /// Start a file that is to be at `path`. A link there stays, and what it leads to is replaced.
    ///
    /// # Errors
    /// What the operating system says, or that there is something else than an ordinary file.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let place = follow_links(path)?;
        if let Ok(metadata) = fs::metadata(&place) {
            refuse_special(&metadata)?;
            // What is protected against writing is not to be replaced either.
            File::options().write(true).open(&place)?;
        }
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        remove_left_ones(folder);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
        // Those of any new file; temporary files are private otherwise.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        // Held, so that no signal comes between making the file and knowing of it.
        let mut known = known();
        loop {
            let file = builder.tempfile_in(folder)?;
            // Another program may take it for a left one until it is locked; then there is one to be made anew. Where files
            // cannot be locked, none is taken for left.
            let taken = matches!(file.as_file().try_lock(), Err(fs::TryLockError::WouldBlock)) || !file.path().exists();
            if !taken {
                known.files.insert(file.path().to_owned());
                return Ok(Self { _known: Known(file.path().to_owned()), file, place });
            }
        }
    }

    /// Give it its name, in place of a file that has it already, whose permissions it takes over.
    ///
    /// # Errors
    /// What the operating system says; the file that was there before still is.
    pub fn persist(self) -> io::Result<()> {
        if let Ok(replaced) = fs::metadata(&self.place) {
            self.file.as_file().set_permissions(replaced.permissions())?;
        }
        self.file.persist(&self.place).map(drop).map_err(|failed| failed.error)
    }

    /// The file itself.
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }
}

impl Write for UnfinishedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Remove the unfinished files of this process, which is about to end: for a program's handling of signals.
///
/// Not to be called inside of a signal handler, but by a thread that waits for signals.
pub fn remove_unfinished_files() {
    for path in std::mem::take(&mut known().files) {
        // The process ends; there is nobody to tell.
        let _ = fs::remove_file(path);
    }
}

/// What this process knows of unfinished files.
#[derive(Debug)]
struct Unfinished {
    /// Its own ones.
    files: BTreeSet<PathBuf>,
    /// Folders where left ones were removed.
    tidied: BTreeSet<PathBuf>,
}

static KNOWN: Mutex<Unfinished> = Mutex::new(Unfinished { files: BTreeSet::new(), tidied: BTreeSet::new() });

fn known() -> MutexGuard<'static, Unfinished> {
    // No code panics while it holds the lock.
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry of [`KNOWN`].
#[derive(Debug)]
struct Known(PathBuf);

impl Drop for Known {
    fn drop(&mut self) {
        known().files.remove(&self.0);
    }
}

/// The file that links lead to, be it there or not.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("its links lead in a circle"))
}

/// Remove unfinished files that no process writes to any more. Once for every folder.
fn remove_left_ones(folder: &Path) {
    if !known().tidied.insert(folder.to_owned()) {
        return;
    }
    // What cannot be looked at or removed is left: it is in nobody's way.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(is_name_of_ours);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        if let Ok(file) = File::options().write(true).open(&path)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_name_of_ours(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_program_left_is_removed_and_what_is_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.gguf");
        let mut first = UnfinishedFile::beside(&path).unwrap();
        for left in [".unfinished-aB3dE6.part", ".unfinished-other-name.part", ".aB3dE6.part", "aB3dE6.part"] {
            fs::write(folder.path().join(left), "left").unwrap();
        }
        known().tidied.remove(folder.path());
        let second = UnfinishedFile::beside(&path).unwrap();
        assert!(!folder.path().join(".unfinished-aB3dE6.part").exists());
        assert_eq!(names(folder.path()).len(), 5, "two that are written, three of others");
        drop(second);
        first.write_all(b"first").unwrap();
        first.persist().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), [".aB3dE6.part", ".unfinished-other-name.part", "aB3dE6.part", "new.gguf"]);
        assert!(!known().files.iter().any(|file| file.starts_with(folder.path())));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let [target, link, circle, device] = ["target", "link", "circle", "device"].map(|name| folder.path().join(name));
        symlink("target", &link).unwrap();
        symlink("circle", &circle).unwrap();
        symlink("/dev/null", &device).unwrap();
        for content in ["new", "replaced"] {
            if target.exists() {
                fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
            }
            let mut file = UnfinishedFile::beside(&link).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.persist().unwrap();
            assert!(link.is_symlink() && !target.is_symlink());
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
        }
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(UnfinishedFile::beside(&circle).unwrap_err().to_string().contains("circle"));
        assert!(UnfinishedFile::beside(&device).unwrap_err().to_string().contains("a device"));
        assert!(UnfinishedFile::beside(folder.path()).unwrap_err().to_string().contains("a folder"));
    }
}
