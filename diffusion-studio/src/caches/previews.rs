//! Previews of pictures that are being drawn, for the front ends of other machines.

use std::fmt;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::files::FileCacheError;
use super::store_access::{answer, found};

/// The folder of previews in a store.
pub(crate) const PREVIEWS: &str = "previews";

/// The newest preview of each job. Cheap to clone.
///
/// What is left by a worker that was killed, or by a write that came in after the removal, is for the sweep.
#[derive(Clone)]
pub(crate) struct Previews {
    store: Arc<dyn ObjectStore>,
}

// A store's own form for debugging may tell how it is entered.
impl fmt::Debug for Previews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Previews").finish_non_exhaustive()
    }
}

impl Previews {
    /// The previews in a store.
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Put a preview, a PNG file, in the place of the one before. Readers see one of them, whole.
    ///
    /// # Errors
    /// [`FileCacheError::Full`] or [`FileCacheError::Unreachable`].
    pub(crate) async fn put(&self, job: Uuid, png: Vec<u8>) -> Result<(), FileCacheError> {
        answer(png.len() as u64, self.store.put(&place(job), PutPayload::from(png))).await?;
        Ok(())
    }

    /// The newest preview, if there is one.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) async fn get(&self, job: Uuid) -> Result<Option<Vec<u8>>, FileCacheError> {
        let Some(object) = found(0, self.store.get(&place(job))).await? else {
            return Ok(None);
        };
        Ok(Some(answer(object.meta.size, object.bytes()).await?.into()))
    }

    /// Remove the preview of a job, if there is one.
    ///
    /// # Errors
    /// [`FileCacheError::Unreachable`].
    pub(crate) async fn remove(&self, job: Uuid) -> Result<(), FileCacheError> {
        found(0, self.store.delete(&place(job))).await?;
        Ok(())
    }
}

fn place(job: Uuid) -> Path {
    Path::from(PREVIEWS).join(format!("{job}.png"))
}
