//! What cookies are signed with, and pictures named.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use axum_extra::extract::cookie::Key;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What cookies are signed with: made once, and kept in the data folder.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Key);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Bytes of a key.
const BYTES: usize = 64;

impl Secret {
    /// A new secret.
    pub(crate) fn generate() -> Vec<u8> {
        Key::generate().master().to_vec()
    }

    /// The secret of these bytes; `None` if they are too few.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= BYTES).then(|| Self(Key::from(bytes)))
    }

    /// A name that tells these contents from all others, and that nobody can guess who knows them.
    pub(crate) fn name_of(&self, contents: &[u8]) -> Uuid {
        let digest = Sha256::new().chain_update(self.0.master()).chain_update(contents).finalize();
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(name).into_uuid()
    }

    /// The secret in a file, made if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(known) = fs::read(path).ok().and_then(|bytes| Self::from_bytes(&bytes)) {
            return Ok(known);
        }
        let bytes = Self::generate();
        let folder = path.parent().unwrap_or(Path::new("."));
        // Temporary files are for their owner alone.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(Self(Key::from(&bytes)))
    }
}
