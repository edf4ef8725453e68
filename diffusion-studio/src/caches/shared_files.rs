//! Files that machines share: in a store, with a cache of this process in front.

use std::fmt;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

use super::files::{FileCache, FileCacheError, is_name};
use super::store_access::{answer, found};

/// Files of one kind that machines share. Cheap to clone; clones are the same files.
///
/// Its methods wait for the store, so they are for threads that may block: they panic on the threads of a runtime.
/// A name stands for one content for ever, which is why a cache never has to ask whether it is still right.
#[derive(Clone)]
pub(crate) struct SharedFiles {
    store: Arc<dyn ObjectStore>,
    /// The folder in the store.
    kind: Path,
    cache: FileCache,
    runtime: Handle,
}

// A store's own form for debugging may tell how it is entered.
impl fmt::Debug for SharedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFiles").field("kind", &self.kind.as_ref()).field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl SharedFiles {
    /// The files of a kind, such as `pictures`, in a store. What is asked of the store runs on `runtime`.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, kind: &str, cache: FileCache, runtime: Handle) -> Self {
        Self { store, kind: Path::from(kind), cache, runtime }
    }

    /// Write a file whole into the store, and then into the cache.
    ///
    /// It is written even if it is there: the cache cannot know whether the store still has it, and a file that is written
    /// again counts as new, so that no sweep removes it before it is used.
    ///
    /// # Errors
    /// [`FileCacheError`]; the store has it whole or not at all then.
    ///
    /// # Panics
    /// If the name is no plain one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileCacheError> {
        assert!(is_name(name), "{name:?} is no plain name of a file");
        let (place, payload) = (self.place(name), PutPayload::from(bytes.to_vec()));
        self.runtime.block_on(answer(bytes.len() as u64, self.store.put(&place, payload)))?;
        self.keep(name, bytes);
        Ok(())
    }

    /// The contents of a file, if it is there: from the cache, or from the store, and then the cache has it.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`] if only the store could tell.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileCacheError> {
        if !is_name(name) {
            return Ok(None);
        }
        if let Some(bytes) = self.cache.read(name) {
            return Ok(Some(bytes));
        }
        let bytes = self.runtime.block_on(self.fetch(name))?;
        if let Some(bytes) = &bytes {
            self.keep(name, bytes);
        }
        Ok(bytes)
    }

    /// Whether the store has a file, so that every machine can read it.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) fn contains(&self, name: &str) -> Result<bool, FileCacheError> {
        let place = self.place(name);
        Ok(is_name(name) && self.runtime.block_on(found(0, self.store.head(&place)))?.is_some())
    }

    /// Remove a file, if it is there. Caches of other processes have it until they need the room.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`]; the store may have it then.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FileCacheError> {
        if is_name(name) {
            self.cache.remove(name);
            self.runtime.block_on(found(0, self.store.delete(&self.place(name))))?;
        }
        Ok(())
    }

    /// Bytes that the cache of this process takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    async fn fetch(&self, name: &str) -> Result<Option<Vec<u8>>, FileCacheError> {
        let Some(object) = found(0, self.store.get(&self.place(name))).await? else {
            return Ok(None);
        };
        Ok(Some(answer(object.meta.size, object.bytes()).await?.into()))
    }

    /// A cache may fail: the store has the file.
    fn keep(&self, name: &str, bytes: &[u8]) {
        if let Err(error) = self.cache.write(name, bytes) {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, source, name, "a file of the store could not be kept here");
        }
    }

    fn place(&self, name: &str) -> Path {
        self.kind.clone().join(name)
    }
}
