//! Numbers that tell adapters apart.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that no other adapter of this process has.
pub(crate) fn next_adapter_number() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}
