//! Removing what a store has kept long enough.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, future, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::files::FileCacheError;
use super::store_access::{answer, found};

/// Objects that are removed at the same time.
const AT_ONCE: usize = 8;

/// After so many failures the store is taken for gone.
const MOST_FAILURES: u64 = 32;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Objects that were removed.
    pub(crate) removed: u64,
    /// Objects and pages of the listing that failed; the log tells why.
    pub(crate) failed: u64,
}

/// Remove the objects of a kind, such as `pictures`, that were last written before a time and are not needed.
///
/// `is_needed` is asked with their names. One that is written again while the sweep runs stays. What fails is left for the
/// next sweep, and a store that keeps failing ends this one. The store's own clock tells ages.
pub(crate) async fn sweep(
    store: Arc<dyn ObjectStore>,
    kind: &str,
    before: SystemTime,
    is_needed: impl Fn(&str) -> bool + Send + Sync,
) -> Swept {
    let (store, is_needed) = (&*store, &is_needed);
    let listed = stream::try_unfold(store.list(Some(&Path::from(kind))), |mut listed| async move {
        Ok::<_, FileCacheError>(answer(0, listed.try_next()).await?.map(|object| (object, listed)))
    });
    let mut removals = listed
        .try_filter(|object| future::ready(is_older(object, before)))
        .map(|object| async move { remove(store, &object?.location, before, is_needed).await })
        .buffer_unordered(AT_ONCE)
        .boxed();
    let mut swept = Swept::default();
    while let Some(outcome) = removals.next().await {
        match outcome {
            Ok(was_removed) => swept.removed += u64::from(was_removed),
            Err(error) => {
                swept.failed += 1;
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, source, kind, "an old file could not be removed from the store");
                if swept.failed == MOST_FAILURES {
                    break;
                }
            }
        }
    }
    swept
}

/// Remove an object unless it is needed or was written again, and tell whether it was removed.
async fn remove(
    store: &dyn ObjectStore,
    location: &Path,
    before: SystemTime,
    is_needed: &(impl Fn(&str) -> bool + Sync),
) -> Result<bool, FileCacheError> {
    if location.filename().is_none_or(is_needed) {
        return Ok(false);
    }
    match found(0, store.head(location)).await? {
        Some(object) if is_older(&object, before) => Ok(found(0, store.delete(location)).await?.is_some()),
        _ => Ok(false),
    }
}

fn is_older(object: &ObjectMeta, time: SystemTime) -> bool {
    SystemTime::from(object.last_modified) < time
}
