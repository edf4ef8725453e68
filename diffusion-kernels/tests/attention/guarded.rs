//! Numbers between pages that may not be touched.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

const PAGE: usize = 1 << 16;

/// Which of the pages the numbers touch.
#[derive(Clone, Copy)]
pub enum Side {
    Before,
    After,
}

/// A slice that begins right after a page without access, or ends right before one. Elsewhere than on Unix, just a slice.
pub struct Guarded {
    pages: MmapMut,
    start: usize,
    len: usize,
}

impl Guarded {
    pub fn new(values: &[f32], side: Side) -> Self {
        let bytes = size_of_val(values);
        let inner = bytes.next_multiple_of(PAGE).max(PAGE);
        let mut pages = MmapMut::map_anon(inner + 2 * PAGE).unwrap();
        let start = match side {
            Side::Before => PAGE,
            Side::After => PAGE + inner - bytes,
        };
        for (place, value) in pages[start..].chunks_exact_mut(4).zip(values) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
        #[cfg(unix)]
        for page in [0, PAGE + inner] {
            // SAFETY: whole pages of the mapping, which nothing here reads or writes.
            let result = unsafe { libc::mprotect(pages[page..].as_mut_ptr().cast(), PAGE, libc::PROT_NONE) };
            assert_eq!(result, 0);
        }
        Self { pages, start, len: values.len() }
    }
}

impl Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: so many aligned numbers were written there.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().add(self.start).cast(), self.len) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().add(self.start).cast(), self.len) }
    }
}
