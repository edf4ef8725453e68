//! The cache on disk, in the layout that `huggingface_hub` gave it.
//!
//! ```text
//! models--ORG--NAME/refs/main                    the commit that a branch was at
//! models--ORG--NAME/blobs/ETAG                   files by their checksums, and ETAG.incomplete until they are whole
//! models--ORG--NAME/snapshots/COMMIT/FILE        links to them
//! .locks/models--ORG--NAME/ETAG.lock             held by the program that downloads
//! ```
//!
//! Reference: `huggingface_hub` 1.0, `file_download.py`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::listing::{Listing, RepositoryFile};
use super::reference::is_inner_path;

/// The part of the cache that is about one repository.
#[derive(Clone, Debug)]
pub(super) struct RepositoryCache {
    root: PathBuf,
    locks: PathBuf,
}

/// Letters of a commit's name.
const COMMIT_LENGTH: usize = 40;
/// More files than a snapshot of a model has, and deeper.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 8;

/// Whether a revision is a commit, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == COMMIT_LENGTH && revision.bytes().all(|letter| letter.is_ascii_hexdigit())
}

impl RepositoryCache {
    pub(super) fn new(cache: &Path, repository: &str) -> Self {
        let folder = format!("models--{}", repository.replace('/', "--"));
        Self { locks: cache.join(".locks").join(&folder), root: cache.join(folder) }
    }

    /// The commit that a revision was at when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Remember which commit a revision is at.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> io::Result<()> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        fs::write(path, commit)
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// A file of a commit, if it is there as a whole.
    pub(super) fn file(&self, commit: &str, file: &str) -> Option<PathBuf> {
        Some(self.snapshot(commit).join(file)).filter(|path| path.is_file())
    }

    /// What there is of a commit.
    pub(super) fn listing(&self, commit: &str) -> Listing {
        let mut files = Vec::new();
        collect(&self.snapshot(commit), String::new(), MAX_DEPTH, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Listing { commit: commit.to_owned(), files }
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where a file grows that is not whole yet.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Let a commit have a file that is whole.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> io::Result<PathBuf> {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let pointer = self.snapshot(commit).join(file);
        make_parent(&pointer)?;
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&pointer).is_ok_and(|found| found == target) {
            return Ok(pointer);
        }
        // Made under a name of its own and renamed, so that other programs find the old file or the new one at any time.
        let own = format!(".{}-{}.link", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let unfinished = pointer.with_file_name(own);
        link(&target, &self.blob(etag), &unfinished)?;
        fs::rename(&unfinished, &pointer)?;
        Ok(pointer)
    }

    /// The right to write a blob. `Err` with the file if another program has it.
    pub(super) fn lock(&self, etag: &str) -> io::Result<Result<Lock, File>> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let file = File::create(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Ok(Lock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(Err(file)),
            // Some network file systems have no locks; two programs that write one file are told apart by its checksum.
            Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Ok(Lock { _file: file })),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Wait until another program has finished.
    pub(super) fn wait(file: File) -> io::Result<Lock> {
        file.lock()?;
        Ok(Lock { _file: file })
    }
}

/// The right to write a blob, until it is dropped.
pub(super) struct Lock {
    _file: File,
}

pub(super) fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(unix)]
fn link(relative: &Path, _blob: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, pointer)
}

/// Links need a privilege on Windows, hard links do not. Where neither can be, the file is copied.
#[cfg(not(unix))]
fn link(_relative: &Path, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::hard_link(blob, pointer).or_else(|_| fs::copy(blob, pointer).map(drop))
}

fn collect(folder: &Path, prefix: String, depth: usize, files: &mut Vec<RepositoryFile>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if files.len() >= MAX_FILES || !is_inner_path(&path) {
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_file() => files.push(RepositoryFile { path, size: found.len() }),
            Ok(found) if found.is_dir() && depth > 0 => collect(&entry.path(), format!("{path}/"), depth - 1, files),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn cache() -> (tempfile::TempDir, RepositoryCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepositoryCache::new(folder.path(), "org/name");
        (folder, cache)
    }

    #[test]
    fn a_revision_is_remembered_and_a_commit_needs_no_memory() {
        let (folder, cache) = cache();
        assert_eq!(cache.commit("main"), None);
        assert_eq!(cache.commit(COMMIT).as_deref(), Some(COMMIT));
        cache.set_commit("refs/pr/1", COMMIT).unwrap();
        assert_eq!(cache.commit("refs/pr/1").as_deref(), Some(COMMIT));
        assert!(folder.path().join("models--org--name/refs/refs/pr/1").is_file());
        fs::write(folder.path().join("models--org--name/refs/damaged"), "../../etc").unwrap();
        assert_eq!(cache.commit("damaged"), None);
    }

    #[test]
    fn a_linked_blob_is_a_file_of_its_commit_and_a_dangling_one_is_none() {
        let (_folder, cache) = cache();
        fs::create_dir_all(cache.blob("abc").parent().unwrap()).unwrap();
        cache.link(COMMIT, "vae/config.json", "abc").unwrap();
        assert_eq!(cache.file(COMMIT, "vae/config.json"), None);
        assert!(cache.listing(COMMIT).files.is_empty());
        fs::write(cache.blob("abc"), "{}").unwrap();
        let file = cache.link(COMMIT, "vae/config.json", "abc").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"{}");
        assert_eq!(cache.file(COMMIT, "vae/config.json"), Some(file));
        assert_eq!(cache.listing(COMMIT).files, [RepositoryFile { path: "vae/config.json".to_owned(), size: 2 }]);
    }

    #[test]
    fn only_one_program_writes_a_blob() {
        let (_folder, cache) = cache();
        let first = cache.lock("abc").unwrap().ok().unwrap();
        let waiting = cache.lock("abc").unwrap().err().unwrap();
        drop(first);
        let _second = RepositoryCache::wait(waiting).unwrap();
    }
}
