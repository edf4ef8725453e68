//! `EasyCache`.

use burn::tensor::Tensor;

use super::{StepCacheReport, magnitude};
use crate::family::Step;

/// The last answer of a network, moved along with its input while it is expected to have changed little: by how much, tell
/// the changes of the input since, and how an earlier change of the input changed the answer.
///
/// Reference: arXiv 2507.02860, section 3; `ComfyUI` `comfy_extras/nodes_easycache.py` at 0f548d2.
#[derive(Clone, Debug)]
pub(crate) struct EasyCache {
    threshold: f64,
    start: f64,
    stop: f64,
    computed: Option<Computed>,
    /// Change of the answer per change of the input.
    rate: Option<f64>,
    /// Relative change of the answer, as expected, since it was computed.
    change: f64,
    report: StepCacheReport,
}

/// Input and answer of the last step that was computed.
#[derive(Clone, Debug)]
struct Computed {
    latents: Tensor<4>,
    velocity: Tensor<4>,
    /// Input of the last step, computed or not.
    before: Tensor<4>,
}

impl EasyCache {
    pub(crate) fn new(threshold: f64, start: f64, stop: f64) -> Self {
        let report = StepCacheReport::default();
        Self { threshold, start, stop, computed: None, rate: None, change: 0.0, report }
    }

    pub(crate) fn report(&self) -> StepCacheReport {
        self.report
    }

    /// The velocity of `latents`, of the network or as expected.
    pub(crate) fn velocity(&mut self, step: Step, latents: Tensor<4>, network: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        self.report.evaluations += 1;
        let (index, num_steps) = (step.index as f64, step.num_steps as f64);
        let in_window = index >= self.start * num_steps && index < self.stop * num_steps;
        if let (Some(computed), Some(rate), true) = (&mut self.computed, self.rate, in_window) {
            let moved = magnitude(latents.clone() - computed.before.clone());
            self.change += rate * moved / magnitude(computed.velocity.clone());
            if self.change < self.threshold {
                self.report.reuse(self.change);
                computed.before = latents.clone();
                return latents + (computed.velocity.clone() - computed.latents.clone());
            }
        }
        let velocity = network(latents.clone());
        if let Some(computed) = &self.computed {
            let moved = magnitude(latents.clone() - computed.latents.clone());
            self.rate = Some(magnitude(velocity.clone() - computed.velocity.clone()) / moved);
        }
        self.change = 0.0;
        self.computed = Some(Computed { before: latents.clone(), latents, velocity: velocity.clone() });
        velocity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn cells(value: f32) -> Tensor<4> {
        Tensor::from_floats([[[[value, -value]]]], &Device::flex())
    }

    /// With answers of half the input a change of the input by 0.1 is one of the answer by 0.05.
    #[test]
    fn expected_changes_add_up_to_the_threshold() {
        let mut cache = EasyCache::new(0.25, 0.0, 1.0);
        let mut asked = 0;
        let mut ask = |input: f32, index| {
            let step = Step { index, num_steps: 10, sigma: 0.5 };
            let velocity = cache.velocity(step, cells(input), |x| {
                asked += 1;
                x * 0.5
            });
            velocity.into_data().iter::<f32>().next().unwrap()
        };
        assert!((ask(2.0, 0) - 1.0).abs() < 1e-6);
        assert!((ask(1.0, 1) - 0.5).abs() < 1e-6);
        // Changes of 0.1 each, of an answer of 0.5; the answer moves with the input, as the paper has it.
        assert!((ask(0.9, 2) - 0.4).abs() < 1e-6);
        assert!((ask(0.8, 3) - 0.3).abs() < 1e-6);
        assert!((ask(0.7, 4) - 0.35).abs() < 1e-6);
        assert_eq!(asked, 3);
        let report = cache.report();
        assert_eq!((report.evaluations, report.reused), (5, 2));
        assert!((report.largest_change - 0.2).abs() < 1e-5);
    }

    #[test]
    fn steps_outside_of_the_window_are_computed() {
        let mut cache = EasyCache::new(1e9, 0.5, 0.75);
        for index in 0..8 {
            let step = Step { index, num_steps: 8, sigma: 0.5 };
            cache.velocity(step, cells(8.0 - index as f32), |x| x);
        }
        assert_eq!((cache.report().evaluations, cache.report().reused), (8, 2));
    }
}
