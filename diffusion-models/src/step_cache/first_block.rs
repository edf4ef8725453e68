//! The first-block cache.

use burn::tensor::Tensor;

use super::{StepCacheReport, magnitude};
use crate::watch::Watch;

/// What the blocks of a transformer add to the image tokens, kept for steps whose first block adds nearly the same.
///
/// Reference: diffusers `hooks/first_block_cache.py` at 0361f0a, after `ParaAttention`.
#[derive(Clone, Debug)]
pub struct FirstBlockCache {
    threshold: f64,
    known: Option<Known>,
    /// What the first block added in the step that is being computed.
    first: Option<Tensor<3>>,
    report: StepCacheReport,
}

/// Of the last step that was computed.
#[derive(Clone, Debug)]
struct Known {
    /// What the first block added.
    first: Tensor<3>,
    /// What the others added.
    rest: Tensor<3>,
}

impl FirstBlockCache {
    /// An empty cache that lets a relative change below `threshold` pass.
    pub fn new(threshold: f64) -> Self {
        Self { threshold, known: None, first: None, report: StepCacheReport::default() }
    }

    /// What it did so far.
    pub fn report(&self) -> StepCacheReport {
        self.report
    }
}

impl Watch for FirstBlockCache {
    fn see<const D: usize>(&mut self, _: &dyn Fn() -> String, _: &Tensor<D>) {}

    fn rest_after_first(&mut self, before: &Tensor<3>, after: &Tensor<3>) -> Option<Tensor<3>> {
        self.report.evaluations += 1;
        let first = after.clone() - before.clone();
        if let Some(known) = self.known.as_ref().filter(|known| known.first.dims() == first.dims()) {
            let change = magnitude(first.clone() - known.first.clone()) / magnitude(known.first.clone());
            if change < self.threshold {
                self.report.reuse(change);
                return Some(known.rest.clone());
            }
        }
        self.first = Some(first);
        None
    }

    fn learn_rest(&mut self, after_first: &Tensor<3>, last: &Tensor<3>) {
        let rest = last.clone() - after_first.clone();
        self.known = self.first.take().map(|first| Known { first, rest });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn tokens(value: f32) -> Tensor<3> {
        Tensor::from_floats([[[value, 2.0 * value]]], &Device::flex())
    }

    #[test]
    fn the_rest_is_known_while_the_first_block_adds_nearly_the_same() {
        let mut cache = FirstBlockCache::new(0.1);
        assert!(cache.rest_after_first(&tokens(0.0), &tokens(1.0)).is_none());
        cache.learn_rest(&tokens(1.0), &tokens(4.0));
        let rest = cache.rest_after_first(&tokens(0.0), &tokens(1.05)).unwrap();
        assert_eq!(rest.into_data(), tokens(3.0).into_data());
        // The change counts from the step that was computed, not from the last one.
        assert!(cache.rest_after_first(&tokens(0.0), &tokens(1.12)).is_none());
        let report = cache.report();
        assert_eq!((report.evaluations, report.reused), (3, 1));
        assert!((report.largest_change - 0.05).abs() < 1e-6);
    }
}
