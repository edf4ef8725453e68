//! Memory for the length of a call, kept for the next: fresh memory costs more than what is done with it, since the operating
//! system clears it page by page.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use super::aligned::Aligned;

/// From this many numbers on, memory is shared by all threads; below, each has its own, which is in its cache.
const LARGE: usize = 1 << 20;
/// Pieces that a thread keeps.
const KEPT_BY_THREAD: usize = 4;
/// Numbers in large pieces that are kept: the packed rows of the widest layers of published models.
const KEPT_IN_ALL: usize = 64 << 20;

thread_local!(static SMALL: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) });
static LARGE_PIECES: Mutex<Vec<Aligned>> = Mutex::new(Vec::new());

/// Call `body` with `len` numbers that begin at a cache line and hold anything at first.
///
/// `body` may ask for more scratch itself.
pub(crate) fn with_scratch<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let kept = if len < LARGE { SMALL.with_borrow_mut(|kept| take(kept, len)) } else { take(&mut large_pieces(), len) };
    let mut memory = kept.unwrap_or_else(|| Aligned::new(len));
    let result = body(&mut memory[..len]);
    if memory.len() < LARGE {
        SMALL.with_borrow_mut(|kept| {
            kept.push(memory);
            remove_smallest_if(kept, |kept| kept.len() > KEPT_BY_THREAD);
        });
    } else {
        let mut kept = large_pieces();
        kept.push(memory);
        remove_smallest_if(&mut kept, |kept| kept.iter().map(|piece| piece.len()).sum::<usize>() > KEPT_IN_ALL);
    }
    result
}

/// Give the large pieces of memory that kernels keep between calls back to the operating system. They come again when needed.
pub fn release_scratch() {
    large_pieces().clear();
}

fn large_pieces() -> std::sync::MutexGuard<'static, Vec<Aligned>> {
    LARGE_PIECES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The smallest piece that is large enough.
fn take(kept: &mut Vec<Aligned>, len: usize) -> Option<Aligned> {
    let index = (0..kept.len()).filter(|&i| kept[i].len() >= len).min_by_key(|&i| kept[i].len());
    index.map(|index| kept.swap_remove(index))
}

fn remove_smallest_if(kept: &mut Vec<Aligned>, too_much: impl Fn(&[Aligned]) -> bool) {
    while too_much(kept) {
        let smallest = (0..kept.len()).min_by_key(|&i| kept[i].len());
        let Some(index) = smallest else { return };
        kept.swap_remove(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_kept_and_never_shared() {
        for len in [1, 1000, LARGE, LARGE + 5] {
            let first = with_scratch(len, |outer| {
                assert_eq!((outer.len(), outer.as_ptr() as usize % 64), (len, 0));
                outer.fill(1.0);
                with_scratch(len, |inner| inner.fill(2.0));
                assert!(outer.iter().all(|&x| x == 1.0));
                outer.as_ptr() as usize
            });
            if len < LARGE {
                let addresses = [with_scratch(len, |again| again.as_ptr() as usize), first];
                assert!(with_scratch(len, |again| addresses.contains(&(again.as_ptr() as usize))));
            }
        }
        release_scratch();
    }
}
