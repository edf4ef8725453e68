//! Numbers that begin at a cache line.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the longest vector.
const ALIGNMENT: usize = 64;

/// Numbers, zero at first, the first of them at the start of a cache line.
pub(crate) struct Aligned {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Self {
        // From `vec!` alone the operating system's zeros are taken as they are, page by page when they are first used.
        let memory = vec![0.0; len + ALIGNMENT / size_of::<f32>()];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT / size_of::<f32>());
        Self { memory, start, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..self.start + self.len]
    }
}
