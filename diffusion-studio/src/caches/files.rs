//! A folder of files that stays below a size: the one that was used longest ago goes first.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use diffusion_app::output::write_whole;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// A folder of files that stays below a size. Cheap to clone; clones are the same cache.
#[derive(Clone, Debug)]
pub(crate) struct FileCache {
    folder: PathBuf,
    /// Sizes by name, in KiB.
    sizes: Cache<String, u32>,
}

/// Why a file could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileCacheError {
    /// There is no room.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// The store that machines share is gone, does not answer in time, or refuses.
    #[error("the store that the machines share cannot be used")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something else.
    #[error("a file could not be written")]
    Other(#[source] io::Error),
}

impl From<io::Error> for FileCacheError {
    fn from(error: io::Error) -> Self {
        if is_full(error.kind()) { Self::Full(error) } else { Self::Other(error) }
    }
}

/// Whether an error tells that there is no room.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl FileCache {
    /// The cache in a folder, which is made if it is not there, with the files that are in it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn open(folder: PathBuf, most_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let (place, kib) = (folder.clone(), most_bytes >> 10);
        let sizes = Cache::builder()
            .max_capacity(kib)
            .weigher(|_: &String, &size: &u32| size)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |name, _, cause| {
                if cause == RemovalCause::Size
                    && let Err(error) = fs::remove_file(place.join(&*name))
                {
                    tracing::warn!(%error, name = %name, "an old file could not be removed");
                }
            })
            .build();
        let mut found: Vec<(SystemTime, String, u64)> = fs::read_dir(&folder)?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                let name = entry.file_name().into_string().ok().filter(|name| is_name(name))?;
                Some((metadata.modified().ok()?, name, metadata.len()))
            })
            .collect();
        found.sort();
        for (_, name, bytes) in found {
            sizes.insert(name, kib_of(bytes));
        }
        sizes.run_pending_tasks();
        Ok(Self { folder, sizes })
    }

    /// Write a file whole.
    ///
    /// # Errors
    /// [`FileCacheError`], and nothing is there then.
    ///
    /// # Panics
    /// If the name is no plain one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileCacheError> {
        assert!(is_name(name), "{name:?} is no plain name of a file");
        if self.sizes.get(name).is_some() && self.path(name).is_file() {
            return Ok(()); // Names tell contents.
        }
        write_whole(&self.path(name), |file| file.write_all(bytes)).map_err(|error| error.source)?;
        self.sizes.insert(name.to_owned(), kib_of(bytes.len() as u64));
        self.sizes.run_pending_tasks();
        Ok(())
    }

    /// The contents of a file, if it is there. It counts as used.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.sizes.get(name)?;
        fs::read(self.path(name)).ok()
    }

    /// Whether a file is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.sizes.contains_key(name) && self.path(name).is_file()
    }

    /// Remove a file.
    pub(crate) fn remove(&self, name: &str) {
        if self.sizes.remove(name).is_some() {
            // Whoever was faster has removed it.
            let _ = fs::remove_file(self.path(name));
        }
    }

    /// Bytes that its files take, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.sizes.weighted_size() << 10
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// At least one, so that empty files count.
fn kib_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

/// Letters, digits, dashes, and a dot that is not first: no path leads elsewhere, and no unfinished file counts.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: [u8; 2048] = [7; 2048];

    #[test]
    fn the_file_used_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FileCache::open(folder.path().to_owned(), 6 << 10).unwrap();
        for name in ["a", "b", "c"] {
            cache.write(name, &FILE).unwrap();
        }
        assert!(cache.read("a").is_some());
        cache.write("d", &FILE).unwrap();
        assert_eq!(["a", "b", "c", "d"].map(|name| cache.contains(name)), [true, false, true, true]);
        assert!(!folder.path().join("b").exists());
        assert_eq!(cache.bytes(), 6 << 10);
    }

    #[test]
    fn files_are_found_again_after_a_restart_and_unfinished_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        FileCache::open(folder.path().to_owned(), 1 << 20).unwrap().write("a.png", &FILE).unwrap();
        fs::write(folder.path().join(".unfinished"), FILE).unwrap();
        let cache = FileCache::open(folder.path().to_owned(), 1 << 20).unwrap();
        assert_eq!((cache.read("a.png").unwrap(), cache.bytes()), (FILE.to_vec(), 2048));
        assert!(!cache.contains(".unfinished"));
        cache.remove("a.png");
        assert!(!folder.path().join("a.png").exists());
    }

    #[test]
    #[should_panic(expected = "no plain name")]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FileCache::open(folder.path().to_owned(), 1 << 20).unwrap();
        let _ = cache.write("../a", &FILE);
    }
}
