//! What tells contents apart.

use std::fmt::Write;
use std::hash::Hasher;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// SHA-256 of parts, one after the other. Where a part ends counts, so that two different lists of parts never have one digest.
///
/// ```
/// use diffusion_app::digest::Digest;
///
/// let digest = |parts: &[&str]| parts.iter().fold(Digest::default(), |digest, part| digest.with(part)).hex();
/// assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Digest(Sha256);

/// SHA-256 of a file's contents, in hexadecimal digits, as other programs print it.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Digest {
    /// SHA-256 of all that a reader gives, in hexadecimal digits.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(reader: &mut impl Read) -> io::Result<String> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hex(&digest.finalize())),
                read => digest.update(&buffer[..read]),
            }
        }
    }

    /// The digest with one more part.
    #[must_use]
    pub fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// The digest with one more number.
    #[must_use]
    pub fn with_number(mut self, number: usize) -> Self {
        self.0.update((number as u64).to_le_bytes());
        self
    }

    /// 64 hexadecimal digits.
    pub fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The first 64 bits.
    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
