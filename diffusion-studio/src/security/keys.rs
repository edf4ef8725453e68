//! Keys that let people in.

use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffusion_app::input_file::{ReadFileError, read_bounded};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Keys that let people in, as digests: the keys themselves are not kept.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    keys: Vec<(String, [u8; 32])>,
}

/// Why a file of keys cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadKeysError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ReadFileError),
    /// A key is too short to be safe.
    #[error("{}, line {line}: a key has at least {SHORTEST} characters", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// There is no key.
    #[error("{} has no key in it; write one a line, as `anna:8-or-more-characters`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

const SHORTEST: usize = 8;
const MAX_BYTES: u64 = 1 << 20;

impl Keys {
    /// The keys of a file: one a line, `NAME:KEY` or `KEY` alone; lines that start with `#` do not count.
    ///
    /// # Errors
    /// [`ReadKeysError`].
    pub fn read(path: &Path) -> Result<Self, ReadKeysError> {
        let bytes = read_bounded(path, "file of keys", MAX_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut keys = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, key) =
                line.split_once(':').map_or_else(|| (format!("key{}", index + 1), line), |(name, key)| (name.to_owned(), key));
            if key.len() < SHORTEST {
                return Err(ReadKeysError::TooShort { path: path.to_owned(), line: index + 1 });
            }
            keys.push((name, digest(key)));
        }
        if keys.is_empty() {
            return Err(ReadKeysError::Empty { path: path.to_owned() });
        }
        Ok(Self { keys })
    }

    /// Whether there are none, and everybody may ask.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The name of the key in a request's headers: a bearer token, or the password of basic authentication.
    pub(crate) fn name_of(&self, headers: &HeaderMap) -> Option<&str> {
        let given = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, credentials) = given.split_once(' ')?;
        let key = if scheme.eq_ignore_ascii_case("bearer") {
            credentials.trim().to_owned()
        } else if scheme.eq_ignore_ascii_case("basic") {
            let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
            decoded.split_once(':').map_or_else(|| decoded.clone(), |(_, password)| password.to_owned())
        } else {
            return None;
        };
        self.find(&key)
    }

    /// Every key is compared to the end, so that the time tells nothing.
    fn find(&self, key: &str) -> Option<&str> {
        let given = digest(key);
        let mut found = None;
        for (name, known) in &self.keys {
            if bool::from(known.ct_eq(&given)) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Keys, ReadKeysError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Keys::read(file.path())
    }

    #[test]
    fn keys_come_as_bearer_tokens_and_as_passwords() {
        let keys = keys("# people\nanna:correct horse\nbattery-staple\n").unwrap();
        let name = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            keys.name_of(&headers).map(str::to_owned)
        };
        assert_eq!(name("Bearer correct horse"), Some("anna".to_owned()));
        assert_eq!(name("bearer battery-staple"), Some("key3".to_owned()));
        assert_eq!(name(&format!("Basic {}", STANDARD.encode("anybody:correct horse"))), Some("anna".to_owned()));
        for wrong in ["Bearer correct", "Bearer ", "Basic ", "Basic !!!", "correct horse", "Digest correct horse", ""] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_without_safe_keys_is_refused() {
        assert!(matches!(keys("# nothing\n"), Err(ReadKeysError::Empty { .. })));
        assert!(matches!(keys("\nanna:short\n"), Err(ReadKeysError::TooShort { line: 2, .. })));
        let error = Keys::read("/no/such/file".as_ref()).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
