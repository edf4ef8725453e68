//! The cache of one run.

use super::easy::EasyCache;
use super::first_block::FirstBlockCache;
use super::kind::StepCache;
use super::report::StepCacheReport;

/// The cache of one kind of pass in one run.
pub(crate) enum RunCache {
    Off(StepCacheReport),
    FirstBlock(FirstBlockCache),
    Easy(EasyCache),
}

impl Default for RunCache {
    fn default() -> Self {
        Self::Off(StepCacheReport::default())
    }
}

impl RunCache {
    pub(crate) fn begin(settings: StepCache) -> Self {
        match settings {
            StepCache::Off => Self::Off(StepCacheReport::default()),
            StepCache::FirstBlock { threshold } => Self::FirstBlock(FirstBlockCache::new(threshold)),
            StepCache::Easy { threshold, start, stop } => Self::Easy(EasyCache::new(threshold, start, stop)),
        }
    }

    pub(crate) fn report(&self) -> StepCacheReport {
        match self {
            Self::Off(report) => *report,
            Self::FirstBlock(cache) => cache.report(),
            Self::Easy(cache) => cache.report(),
        }
    }
}
