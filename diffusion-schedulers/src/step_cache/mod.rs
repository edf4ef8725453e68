//! Step caches: work that is left out because the step before did nearly the same.
//!
//! They trade exactness for time and are off by default. The images of a batch share the decision, as both passes of batched
//! guidance do; run one after the other, each pass decides for itself.

mod easy;
mod first_block;
mod kind;
mod report;
mod run_cache;

pub use easy::EasyCache;
pub use first_block::FirstBlockCache;
pub use kind::StepCache;
pub use report::StepCacheReport;
pub use run_cache::RunCache;
