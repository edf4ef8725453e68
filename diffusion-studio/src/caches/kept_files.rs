//! Files of one machine, or of several.

use super::files::{FileCache, FileCacheError};
use super::shared_files::SharedFiles;

/// Files of one kind, in a folder of this process or in a store that machines share. Cheap to clone.
///
/// Methods of shared files wait for the store; see [`SharedFiles`].
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// In a folder that stays below a size.
    Local(FileCache),
    /// In a store.
    Shared(SharedFiles),
}

impl Files {
    /// Write a file whole.
    ///
    /// # Errors
    /// [`FileCacheError`].
    ///
    /// # Panics
    /// If the name is no plain one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileCacheError> {
        match self {
            Self::Local(files) => files.write(name, bytes),
            Self::Shared(files) => files.write(name, bytes),
        }
    }

    /// The contents of a file, if it is there.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileCacheError> {
        match self {
            Self::Local(files) => Ok(files.read(name)),
            Self::Shared(files) => files.read(name),
        }
    }

    /// Whether a file is there.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) fn contains(&self, name: &str) -> Result<bool, FileCacheError> {
        match self {
            Self::Local(files) => Ok(files.contains(name)),
            Self::Shared(files) => files.contains(name),
        }
    }

    /// Remove a file, if it is there.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) fn remove(&self, name: &str) -> Result<(), FileCacheError> {
        match self {
            Self::Local(files) => {
                files.remove(name);
                Ok(())
            }
            Self::Shared(files) => files.remove(name),
        }
    }

    /// Bytes that they take on this machine, about.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Local(files) => files.bytes(),
            Self::Shared(files) => files.bytes(),
        }
    }
}
