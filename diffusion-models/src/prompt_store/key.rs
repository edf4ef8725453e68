//! The names of encoded texts.

use std::fmt::{self, Display};
use std::hash::Hasher;

use sha2::{Digest, Sha256};

/// All that an encoded text depends on, hashed; printed as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PromptKey([u8; 32]);

impl PromptKey {
    /// Whether a text is a printed key.
    pub(super) fn is_one(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl Display for PromptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 for what implements [`Hash`](std::hash::Hash): two different texts never share a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(Sha256);

impl KeyHasher {
    pub(crate) fn key(self) -> PromptKey {
        PromptKey(self.0.finalize().into())
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The first 64 bits.
    fn finish(&self) -> u64 {
        let PromptKey(bytes) = self.clone().key();
        bytes[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
