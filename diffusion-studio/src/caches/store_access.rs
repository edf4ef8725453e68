//! Asking a store that may be elsewhere: an answer in time, or an error that tells why there is none.

use std::error::Error;
use std::io;
use std::iter;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::files::{FileCacheError, is_full};

/// How long a store may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes a second of the slowest line that large files get time for: 1 Mbit/s.
const SLOWEST_LINE: u64 = 125_000;

/// The folder of [`check_store`].
const CHECKS: &str = "checks";

/// A store is silent.
#[derive(Debug, thiserror::Error)]
#[error("there is no answer within {} s", .0.as_secs())]
struct NoAnswer(Duration);

/// The answer to a request that moves about `bytes`.
///
/// # Errors
/// [`FileCacheError::Full`] or [`FileCacheError::Unreachable`].
pub(super) async fn answer<T>(bytes: u64, request: impl Future<Output = object_store::Result<T>>) -> Result<T, FileCacheError> {
    Ok(in_time(bytes, request).await??)
}

/// As [`answer`], and nothing if the object is not there.
///
/// # Errors
/// [`FileCacheError::Full`] or [`FileCacheError::Unreachable`].
pub(super) async fn found<T>(
    bytes: u64,
    request: impl Future<Output = object_store::Result<T>>,
) -> Result<Option<T>, FileCacheError> {
    match in_time(bytes, request).await? {
        Ok(answer) => Ok(Some(answer)),
        // S3 says 404 of a bucket that is not there, too.
        Err(error @ object_store::Error::NotFound { .. }) if !error.to_string().contains("NoSuchBucket") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn in_time<T>(bytes: u64, request: impl Future<Output = T>) -> Result<T, FileCacheError> {
    let most = time_for(bytes);
    tokio::time::timeout(most, request).await.map_err(|_| FileCacheError::Unreachable(NoAnswer(most).into()))
}

fn time_for(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / SLOWEST_LINE)
}

/// Write a small object, read it and remove it, so that a wrong address or a missing right is told at the start.
///
/// # Errors
/// [`FileCacheError::Full`] or [`FileCacheError::Unreachable`].
pub(crate) async fn check_store(store: &dyn ObjectStore) -> Result<(), FileCacheError> {
    let place = Path::from(CHECKS).join(Uuid::new_v4().to_string());
    answer(0, store.put(&place, PutPayload::from_static(b"check"))).await?;
    answer(0, store.get(&place)).await?;
    answer(0, store.delete(&place)).await
}

impl From<object_store::Error> for FileCacheError {
    fn from(error: object_store::Error) -> Self {
        match kind_of(&error) {
            Some(kind) if is_full(kind) => Self::Full(io::Error::new(kind, error)),
            _ => Self::Unreachable(error.into()),
        }
    }
}

/// What the operating system said, or an S3 server that has no room, which `MinIO` tells by 507.
fn kind_of(error: &object_store::Error) -> Option<io::ErrorKind> {
    let chain = iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    let kind = chain.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind).next();
    kind.or_else(|| error.to_string().contains("status code: 507").then_some(io::ErrorKind::StorageFull))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Error + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn a_full_disk_is_found_below_the_errors_of_a_store() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = FileCacheError::from(generic(Wrapped(kind.into())));
            assert!(matches!(error, FileCacheError::Full(error) if error.kind() == kind));
        }
        let error = FileCacheError::from(generic(Wrapped(io::ErrorKind::ConnectionRefused.into())));
        assert!(matches!(&error, FileCacheError::Unreachable(_)));
        assert!(error.source().unwrap().to_string().contains("wrapped"));
    }

    #[test]
    fn large_files_get_more_time() {
        assert_eq!([0, 2_000_000, 25_000_000].map(|bytes| time_for(bytes).as_secs()), [10, 26, 210]);
    }
}
