//! Step caches: work that is left out because the step before did nearly the same.
//!
//! They trade exactness for time and are off by default. The pictures of a batch share the decision, as both prompts of
//! batched guidance do; asked one after the other, each prompt decides for itself.

mod easy;
mod first_block;

use burn::tensor::Tensor;

pub(crate) use easy::EasyCache;
pub use first_block::FirstBlockCache;

use crate::error::PipelineError;

/// Whether and how work of earlier steps is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum StepCache {
    /// Every step computes everything.
    #[default]
    Off,
    /// [`FirstBlockCache`]: where the first block changes the picture nearly as before, the other blocks are taken to do so
    /// too.
    FirstBlock {
        /// Largest relative change of what the first block adds: 0.05 in diffusers; at 0 nothing is used again.
        threshold: f64,
    },
    /// `EasyCache`: where the network's answer is expected to have changed little, it is not asked.
    ///
    /// Reference: arXiv 2507.02860; `ComfyUI` `comfy_extras/nodes_easycache.py` at 0f548d2.
    Easy {
        /// Largest relative change of the answer, as expected and added up since it was last asked: 0.2 in `ComfyUI`; at 0
        /// nothing is used again.
        threshold: f64,
        /// Share of the steps at the start that are always computed.
        start: f64,
        /// Share of the steps after which all are computed.
        stop: f64,
    },
}

impl StepCache {
    /// The first-block cache with the threshold of diffusers.
    pub const FIRST_BLOCK: Self = Self::FirstBlock { threshold: 0.05 };
    /// `EasyCache` with the settings of `ComfyUI`.
    pub const EASY: Self = Self::Easy { threshold: 0.2, start: 0.15, stop: 0.95 };

    /// Check the numbers.
    ///
    /// # Errors
    /// [`PipelineError::Setting`] naming the one that is out of range.
    pub(crate) fn check(self) -> Result<(), PipelineError> {
        let (threshold, window) = match self {
            Self::Off => return Ok(()),
            Self::FirstBlock { threshold } => (threshold, [0.0, 1.0]),
            Self::Easy { threshold, start, stop } => (threshold, [start, stop]),
        };
        if !(threshold.is_finite() && threshold >= 0.0) {
            return Err(PipelineError::setting("threshold of the step cache", "a number from 0 on", threshold));
        }
        match window.into_iter().find(|share| !(0.0..=1.0).contains(share)) {
            Some(share) => Err(PipelineError::setting("start or stop of the step cache", "a share from 0 to 1", share)),
            None => Ok(()),
        }
    }
}

/// What the network was asked in a run, and what a step cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCacheReport {
    /// How often the network was asked.
    pub evaluations: usize,
    /// How many of these questions were answered, but for a block or wholly, from earlier answers.
    pub reused: usize,
    /// The largest relative change that was let pass: of what the first block adds, or of the whole answer as expected.
    pub largest_change: f64,
}

impl StepCacheReport {
    /// Count a question that was answered from the cache.
    fn reuse(&mut self, change: f64) {
        self.reused += 1;
        self.largest_change = self.largest_change.max(change);
    }

    /// The two together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            evaluations: self.evaluations + other.evaluations,
            reused: self.reused + other.reused,
            largest_change: self.largest_change.max(other.largest_change),
        }
    }
}

/// The cache of one kind of question in one run.
pub(crate) enum RunCache {
    Off(StepCacheReport),
    FirstBlock(FirstBlockCache),
    Easy(EasyCache),
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

/// The mean of the absolute values.
fn magnitude<const D: usize>(x: Tensor<D>) -> f64 {
    f64::from(x.cast(burn::tensor::DType::F32).abs().mean().into_scalar::<f32>())
}
