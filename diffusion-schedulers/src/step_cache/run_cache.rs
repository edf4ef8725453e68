//! The cache of one run.

use burn::tensor::Tensor;
use diffusion_core::network::block_network::{BlockHook, NoHook};

use super::easy::EasyCache;
use super::first_block::FirstBlockCache;
use super::kind::StepCache;
use super::report::StepCacheReport;

/// The cache of one kind of pass in one run.
#[derive(Clone, Debug)]
pub enum RunCache {
    /// No cache; evaluations are counted.
    Off(StepCacheReport),
    /// A hook of the blocks.
    FirstBlock(Box<FirstBlockCache>),
    /// Around the network.
    Easy(Box<EasyCache>),
}

impl RunCache {
    /// An empty cache.
    pub fn begin(settings: StepCache) -> Self {
        match settings {
            StepCache::Off => Self::Off(StepCacheReport::default()),
            StepCache::FirstBlock { threshold } => Self::FirstBlock(Box::new(FirstBlockCache::new(threshold))),
            StepCache::Easy { threshold, start, stop } => Self::Easy(Box::new(EasyCache::new(threshold, start, stop))),
        }
    }

    /// The velocity of `latents` in the step `index` of `num_steps`, of the network under a hook, or of earlier steps.
    ///
    /// # Errors
    /// Those of `network`.
    pub fn velocity<E>(
        &mut self,
        [index, num_steps]: [usize; 2],
        latents: Tensor<4>,
        network: impl FnOnce(Tensor<4>, &mut dyn BlockHook) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<4>, E> {
        match self {
            Self::Off(report) => {
                report.evaluations += 1;
                network(latents, &mut NoHook)
            }
            Self::FirstBlock(cache) => network(latents, &mut **cache),
            Self::Easy(cache) => cache.velocity([index, num_steps], latents, |latents| network(latents, &mut NoHook)),
        }
    }

    /// What it did so far.
    pub fn report(&self) -> StepCacheReport {
        match self {
            Self::Off(report) => *report,
            Self::FirstBlock(cache) => cache.report(),
            Self::Easy(cache) => cache.report(),
        }
    }
}
