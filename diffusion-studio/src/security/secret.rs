//! What cookies are signed with.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use axum_extra::extract::cookie::Key;

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
    /// The secret in a file, made if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Ok(bytes) = fs::read(path)
            && bytes.len() >= BYTES
        {
            return Ok(Self(Key::from(&bytes)));
        }
        let bytes: Vec<u8> = Key::generate().master().to_vec();
        let folder = path.parent().unwrap_or(Path::new("."));
        // Temporary files are for their owner alone.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(Self(Key::from(&bytes)))
    }
}
