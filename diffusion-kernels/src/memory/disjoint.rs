//! A slice that several threads write, each its own parts.

use std::marker::PhantomData;

/// A mutable slice whose parts are handed out to several threads.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: it gives access to f32 alone, which may be sent, and only through `part`, whose caller sees to it that parts in use
// do not overlap.
unsafe impl Send for Disjoint<'_> {}
// SAFETY: as above.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The numbers from `first` on.
    ///
    /// # Safety
    /// No two parts that are in use at a time may overlap.
    ///
    /// # Panics
    /// If the part does not lie within the slice.
    #[inline(always)]
    pub(crate) unsafe fn part(self, first: usize, len: usize) -> &'a mut [f32] {
        assert!(first <= self.len && len <= self.len - first, "{len} numbers from {first} on of {}", self.len);
        // SAFETY: within the slice, borrowed for 'a, and not in use elsewhere, as the caller says.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}
