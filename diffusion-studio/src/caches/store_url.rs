//! Where a store is that several machines share: a bucket of S3, or a folder.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use object_store::path::Path;
use url::Url;

/// The address of a store: `s3://bucket/prefix`, `file:///folder` or the absolute path of a folder.
///
/// It never has a secret in it: the keys to a bucket come from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl(pub(super) Place);

/// What an address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A part of a bucket.
    S3 { bucket: String, prefix: Path },
    /// A folder, by its absolute path.
    Folder(PathBuf),
}

/// Why a text is no address of a store. What was written is not repeated, since it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// It is neither a known form nor an absolute path.
    #[error("a store is s3://bucket/prefix, file:///folder, or the absolute path of a folder")]
    Form,
    /// It is of another kind.
    #[error("stores of the kind {0}:// are not known; write s3://bucket/prefix, or file:///folder")]
    Kind(String),
    /// There are keys in it.
    #[error("no keys belong into the address of a store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Keys,
    /// A server is named in the place of a bucket.
    #[error("s3:// is followed by the name of a bucket; set AWS_ENDPOINT_URL to the address of the server that has it")]
    Server,
    /// There is no bucket.
    #[error("the bucket is missing: s3://bucket/prefix")]
    NoBucket,
    /// The bucket cannot be called so.
    #[error("the name of a bucket consists of letters, digits, dashes, dots and underscores")]
    Bucket,
    /// A part of the prefix is empty, or has characters that no key may have.
    #[error("the prefix after the bucket is folders with one / between them, such as studio/pictures")]
    Prefix,
    /// There is more behind the address.
    #[error("the address of a store ends before ? and #; the path of a folder that has them is written without file://")]
    Rest,
    /// It is no absolute path.
    #[error("file: is followed by three slashes and the path of a folder on this machine: file:///folder")]
    File,
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if std::path::Path::new(text).is_absolute() {
            return Ok(Self(Place::Folder(text.into())));
        }
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(StoreUrlError::Form);
        };
        match kind {
            "s3" => bucket_and_prefix(rest).map(Self),
            "file" if !rest.starts_with("///") => Err(StoreUrlError::File),
            "file" if rest.contains(['?', '#']) => Err(StoreUrlError::Rest),
            "file" => {
                let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
                path.map(|path| Self(Place::Folder(path))).ok_or(StoreUrlError::File)
            }
            _ if rest.starts_with("//") && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Err(StoreUrlError::Kind(kind.to_owned()))
            }
            _ => Err(StoreUrlError::Form),
        }
    }
}

fn bucket_and_prefix(rest: &str) -> Result<Place, StoreUrlError> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(StoreUrlError::NoBucket);
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match () {
        () if rest.contains('@') => return Err(StoreUrlError::Keys),
        () if rest.contains(['?', '#']) => return Err(StoreUrlError::Rest),
        () if bucket.is_empty() => return Err(StoreUrlError::NoBucket),
        () if bucket.contains(':') => return Err(StoreUrlError::Server),
        () if !bucket.chars().all(is_plain) => return Err(StoreUrlError::Bucket),
        () => {}
    }
    // As other programs read such addresses: %20 stands for itself.
    let prefix = Path::parse(prefix).map_err(|_| StoreUrlError::Prefix)?;
    Ok(Place::S3 { bucket: bucket.to_owned(), prefix })
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::S3 { bucket, prefix } if prefix.is_root() => write!(f, "s3://{bucket}"),
            Place::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Place::Folder(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://my.bucket_1/studio/a", "s3://my.bucket_1/studio/a"),
            ("s3://bucket/studio/", "s3://bucket/studio"),
            ("s3://bucket/two words%20", "s3://bucket/two words%20"),
            ("file:///srv/studio", "/srv/studio"),
            ("file:///srv/two%20words", "/srv/two words"),
            ("/srv/what?#", "/srv/what?#"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), written);
            assert_eq!(written.parse::<StoreUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_what_may_be_secret() {
        use StoreUrlError::{Bucket, File, Form, Keys, Kind, NoBucket, Prefix, Rest, Server};
        for (text, error) in [
            ("", Form),
            ("pictures", Form),
            ("./pictures", Form),
            ("hidden:hidden@bucket", Form),
            ("gs://hidden", Kind("gs".into())),
            ("https://hidden@host/bucket", Kind("https".into())),
            ("s3://key:hidden@bucket/prefix", Keys),
            ("s3://localhost:9000/bucket", Server),
            ("s3:bucket", NoBucket),
            ("s3:///prefix", NoBucket),
            ("s3://two words", Bucket),
            ("s3://bucket/a//b", Prefix),
            ("s3://bucket/a/../b", Prefix),
            ("s3://bucket/a?key=hidden", Rest),
            ("file://srv/studio", File),
            ("file:studio", File),
            ("file:///srv/studio?a", Rest),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap_err(), error, "{text}");
            assert!(!error.to_string().contains("hidden") && !format!("{error:?}").contains("hidden"));
        }
    }
}
