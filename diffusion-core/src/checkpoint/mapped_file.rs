//! A checkpoint file as bytes.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use memmap2::{Mmap, MmapOptions};

use super::error::CheckpointError;
use crate::files::open_regular_file;
use crate::model_path;

/// A memory-mapped file, or one whose bytes are in memory.
#[derive(Debug)]
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    /// The whole file.
    pub(super) bytes: bytes::Bytes,
    /// `None` for a file whose bytes are in memory.
    mapping: Option<Mapping>,
    /// What its header says besides the tensors, once that was read.
    pub(super) metadata: OnceLock<HashMap<String, String>>,
}

#[derive(Debug)]
struct Mapping {
    map: Arc<Mmap>,
    /// The file itself, which tells whether it is still what was mapped.
    file: File,
    version: Version,
}

/// What tells that a file was written to.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Version {
    size: u64,
    modified: Option<SystemTime>,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl MappedFile {
    /// A file whose bytes are in memory.
    pub(super) fn in_memory(path: &Path, bytes: bytes::Bytes) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), bytes, mapping: None, metadata: OnceLock::new() })
    }

    pub(super) fn open(path: &Path) -> Result<Arc<Self>, CheckpointError> {
        let failed = |source| CheckpointError::Open { path: path.to_owned(), source };
        let (file, part) = match model_path::enter(path).map_err(CheckpointError::Dduf)? {
            None => (open_regular_file(path).map_err(failed)?, None),
            Some((dduf, name)) => {
                let part = dduf.part(&name).ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
                let (file, size, range) = part;
                (file.try_clone().map_err(failed)?, Some((size, range)))
            }
        };
        let version = Version::of(&file.metadata().map_err(failed)?);
        let mut options = MmapOptions::new();
        if let Some((expected, range)) = part {
            let found = version.size;
            if found != expected {
                return Err(CheckpointError::Changed { path: path.to_owned(), expected, found });
            }
            options.offset(range.start).len((range.end - range.start) as usize);
        }
        // SAFETY: the mapping is read-only. Should another program change or cut the file meanwhile, `check_unchanged` tells
        // before the next read; a read at that very moment sees the new bytes, or the process gets a signal, as with every
        // program that maps checkpoints.
        let map = Arc::new(unsafe { options.map(&file) }.map_err(failed)?);
        let bytes = bytes::Bytes::from_owner(SharedMap(map.clone()));
        let mapping = Some(Mapping { map, file, version });
        Ok(Arc::new(Self { path: path.to_owned(), bytes, mapping, metadata: OnceLock::new() }))
    }

    /// Refuse a file that was written to since it was opened: reading what was cut off would end the process.
    pub(super) fn check_unchanged(&self) -> Result<(), CheckpointError> {
        let Some(Mapping { file, version, .. }) = &self.mapping else { return Ok(()) };
        let now = file.metadata().map_err(|source| CheckpointError::Open { path: self.path.clone(), source })?;
        if Version::of(&now) == *version {
            return Ok(());
        }
        Err(CheckpointError::Changed { path: self.path.clone(), expected: version.size, found: now.len() })
    }

    /// What tells the file from every other, and its contents from those of other times: where it is, its size and when it was
    /// changed. Of a file in memory, its bytes.
    pub(super) fn identify(&self, mut state: &mut dyn Hasher) -> Result<(), CheckpointError> {
        let Some(Mapping { file, version, .. }) = &self.mapping else {
            self.bytes.hash(&mut state);
            return Ok(());
        };
        self.check_unchanged()?;
        // What lies in a DDUF file has no path of its own.
        std::fs::canonicalize(&self.path).or_else(|_| std::path::absolute(&self.path)).ok().hash(&mut state);
        version.hash(&mut state);
        // The time of a change can be set by programs, unlike that of the last change of anything about the file.
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let now = file.metadata().map_err(|source| CheckpointError::Open { path: self.path.clone(), source })?;
            (now.ctime(), now.ctime_nsec()).hash(&mut state);
        }
        #[cfg(not(unix))]
        let _ = file;
        Ok(())
    }

    /// Start to read a part, without waiting for it.
    pub(super) fn read_ahead(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(Mapping { map, .. }) = &self.mapping
            && let Err(error) = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len())
        {
            tracing::debug!("{} is not read ahead: {error}", self.path.display());
        }
        #[cfg(not(unix))]
        let _ = (&self.mapping, range);
    }

    /// Give back the memory of a part that was read; it is read from the file again if it is needed again.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(Mapping { map, .. }) = &self.mapping {
            // SAFETY: for a read-only mapping of a file this only drops clean pages, which come back unchanged.
            let released = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            if let Err(error) = released {
                tracing::debug!("memory of {} was not given back: {error}", self.path.display());
            }
        }
        #[cfg(not(unix))]
        let _ = (&self.mapping, range);
    }
}

/// What a `bytes::Bytes` over the mapping owns.
struct SharedMap(Arc<Mmap>);

impl AsRef<[u8]> for SharedMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
