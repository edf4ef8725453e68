//! Opening a store that several machines share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use super::store_url::{Place, StoreUrl};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenStoreError {
    /// The folder cannot be made or used.
    #[error("the folder {} of the store cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server speaks without encryption, and that is not allowed.
    #[error("AWS_ENDPOINT_URL begins with http://; set AWS_ALLOW_HTTP=true if pictures and keys may travel without encryption")]
    Unencrypted,
    /// There are keys in the server's address.
    #[error("no keys belong into AWS_ENDPOINT_URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Keys,
    /// The settings of S3 in the environment do not fit.
    #[error("the settings of S3 in the environment (AWS_...) cannot be used")]
    S3(#[source] object_store::Error),
}

impl StoreUrl {
    /// The store, whose root is this address. A folder is made if it is not there; S3 is not asked anything yet, and its keys,
    /// region and server are taken from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    /// [`OpenStoreError`].
    pub(crate) fn open(&self) -> Result<Arc<dyn ObjectStore>, OpenStoreError> {
        self.open_with(AmazonS3Builder::from_env())
    }

    /// As [`StoreUrl::open`], with settings of S3 from elsewhere.
    ///
    /// # Errors
    /// [`OpenStoreError`].
    pub(crate) fn open_with(&self, s3: AmazonS3Builder) -> Result<Arc<dyn ObjectStore>, OpenStoreError> {
        match &self.0 {
            Place::S3 { bucket, prefix } => {
                check_server(&s3)?;
                tell_where_keys_come_from(&s3);
                let store = patient(s3).with_bucket_name(bucket).build().map_err(OpenStoreError::S3)?;
                Ok(Arc::new(PrefixStore::new(store, prefix.clone())))
            }
            Place::Folder(path) => {
                let failed = |source| OpenStoreError::Folder { path: path.clone(), source };
                std::fs::create_dir_all(path).map_err(|error| failed(error.into()))?;
                let store = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(error.into()))?;
                // The database says that a picture is there, so it must be there after a power cut as well.
                Ok(Arc::new(store.with_fsync(true)))
            }
        }
    }
}

/// Settings by which a server that is gone is told after less than 10 s.
///
/// They are set one by one: options of the client as a whole would take the place of those from the environment.
fn patient(s3: AmazonS3Builder) -> AmazonS3Builder {
    let retries = RetryConfig {
        backoff: BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() },
        max_retries: usize::MAX, // The time decides.
        retry_timeout: Duration::from_secs(6),
    };
    s3.with_retry(retries)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), "3s")
        // Not from start to end: a large picture on a slow line may take long. See `store_access`.
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), "1h")
        // Not every server that speaks S3 knows how to delete many at once.
        .with_disable_bulk_delete(true)
}

/// Find what would be told as a riddle when the first picture is written.
fn check_server(s3: &AmazonS3Builder) -> Result<(), OpenStoreError> {
    let get = |key| s3.get_config_value(&key);
    let Some(server) = get(AmazonS3ConfigKey::S3Endpoint).or_else(|| get(AmazonS3ConfigKey::Endpoint)) else {
        return Ok(());
    };
    let has_keys = Url::parse(&server).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    let may_be_open = get(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).is_some_and(|value| is_yes(&value));
    match () {
        () if has_keys => Err(OpenStoreError::Keys),
        () if server.starts_with("http://") && !may_be_open => Err(OpenStoreError::Unencrypted),
        () => Ok(()),
    }
}

/// Without keys, the crate asks the cloud that the machine may be in, whose failure would be told of a strange address.
fn tell_where_keys_come_from(s3: &AmazonS3Builder) {
    use AmazonS3ConfigKey::{AccessKeyId, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri, WebIdentityTokenFile};
    let sources = [AccessKeyId, WebIdentityTokenFile, ContainerCredentialsRelativeUri, ContainerCredentialsFullUri];
    if sources.iter().all(|source| s3.get_config_value(source).is_none()) {
        tracing::info!("AWS_ACCESS_KEY_ID is not set, so the keys of the store are asked of the cloud that this machine is in");
    }
}

/// As the crate reads it.
fn is_yes(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_server_that_cannot_work_are_told_at_once() {
        let open = |s3: AmazonS3Builder| "s3://bucket".parse::<StoreUrl>().unwrap().open_with(s3).map(|_| ());
        let s3 =
            |server: &str| AmazonS3Builder::new().with_endpoint(server).with_access_key_id("key").with_secret_access_key("s");
        assert!(matches!(open(s3("http://minio:9000")), Err(OpenStoreError::Unencrypted)));
        assert!(matches!(open(s3("https://key:secret@minio")), Err(OpenStoreError::Keys)));
        assert!(matches!(open(AmazonS3Builder::new().with_access_key_id("key")), Err(OpenStoreError::S3(_))));
        open(s3("http://minio:9000").with_allow_http(true)).unwrap();
        open(s3("http://minio:9000").with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), "TRUE")).unwrap();
        open(s3("https://minio")).unwrap();
    }

    #[test]
    fn a_folder_is_made_and_a_file_in_its_place_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: PathBuf| path.to_str().unwrap().parse::<StoreUrl>().unwrap().open().map(|_| ());
        open(folder.path().join("a/b")).unwrap();
        assert!(folder.path().join("a/b").is_dir());
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = open(folder.path().join("file/b")).unwrap_err();
        assert!(error.to_string().contains("file/b"), "{error}");
    }
}
