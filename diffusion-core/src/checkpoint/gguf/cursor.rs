//! Reading of a header that may lie: nothing is taken on trust, nothing allocated by an announced size.

use std::fmt::Display;

use super::problem::GgufProblem;

/// A place in the bytes of a file.
///
/// What is read is described for errors, and written out for them only: a long name is not copied for every entry.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64, what: &dyn Display) -> Result<&'a [u8], GgufProblem> {
        let taken = usize::try_from(len).ok().and_then(|len| self.rest().get(..len));
        let taken = taken.ok_or_else(|| GgufProblem::HeaderEnds {
            what: what.to_string(),
            start: self.at,
            needed: len,
            size: self.bytes.len(),
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &dyn Display) -> Result<u32, GgufProblem> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    pub(super) fn u64(&mut self, what: &dyn Display) -> Result<u64, GgufProblem> {
        let bytes = self.take(8, what)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A number of entries that take `smallest` bytes or more each.
    pub(super) fn count(&mut self, what: &dyn Display, smallest: u64) -> Result<u64, GgufProblem> {
        let found = self.u64(what)?;
        let rest = self.rest().len();
        let most = rest as u64 / smallest;
        if found > most {
            return Err(GgufProblem::Count { what: what.to_string(), found, rest, most });
        }
        Ok(found)
    }

    /// A string: its length, and its bytes.
    pub(super) fn bytes(&mut self, what: &dyn Display) -> Result<&'a [u8], GgufProblem> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    pub(super) fn text(&mut self, what: &dyn Display) -> Result<&'a str, GgufProblem> {
        let start = self.at;
        let bytes = self.bytes(what)?;
        std::str::from_utf8(bytes).map_err(|_| GgufProblem::Text { what: what.to_string(), start })
    }
}
