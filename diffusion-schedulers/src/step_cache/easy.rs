//! `EasyCache`.

use burn::tensor::Tensor;

use super::report::{StepCacheReport, magnitude};

/// The last velocity of a network, moved along with its input while it is expected to have changed little. The changes of the
/// input since, and how an earlier change of the input changed the velocity, tell by how much.
///
/// Reference: arXiv 2507.02860, section 3; `ComfyUI` `comfy_extras/nodes_easycache.py` at 0f548d2.
#[derive(Clone, Debug)]
pub struct EasyCache {
    threshold: f64,
    start: f64,
    stop: f64,
    computed: Option<Computed>,
    /// Change of the velocity per change of the input.
    rate: Option<f64>,
    /// Relative change of the velocity, as expected, since it was computed.
    change: f64,
    report: StepCacheReport,
}

/// Input and velocity of the last step that was computed.
#[derive(Clone, Debug)]
struct Computed {
    latents: Tensor<4>,
    velocity: Tensor<4>,
    /// Input of the last step, computed or not.
    before: Tensor<4>,
}

impl EasyCache {
    /// An empty cache that lets an expected relative change below `threshold` pass, in the steps from the share `start` of the run to
    /// the share `stop`.
    pub fn new(threshold: f64, start: f64, stop: f64) -> Self {
        let report = StepCacheReport::default();
        Self { threshold, start, stop, computed: None, rate: None, change: 0.0, report }
    }

    /// What it did so far.
    pub fn report(&self) -> StepCacheReport {
        self.report
    }

    /// The velocity of `latents` in the step `index` of `num_steps`, of the network or as expected.
    ///
    /// # Errors
    /// Those of `network`.
    pub fn velocity<E>(
        &mut self,
        [index, num_steps]: [usize; 2],
        latents: Tensor<4>,
        network: impl FnOnce(Tensor<4>) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<4>, E> {
        self.report.evaluations += 1;
        let (index, num_steps) = (index as f64, num_steps as f64);
        let in_window = index >= self.start * num_steps && index < self.stop * num_steps;
        if let (Some(computed), Some(rate), true) = (&mut self.computed, self.rate, in_window) {
            let moved = magnitude(latents.clone() - computed.before.clone());
            self.change += rate * moved / magnitude(computed.velocity.clone());
            if self.change < self.threshold {
                self.report.reuse(self.change);
                computed.before = latents.clone();
                return Ok(latents + (computed.velocity.clone() - computed.latents.clone()));
            }
        }
        let velocity = network(latents.clone())?;
        if let Some(computed) = &self.computed {
            let moved = magnitude(latents.clone() - computed.latents.clone());
            self.rate = Some(magnitude(velocity.clone() - computed.velocity.clone()) / moved);
        }
        self.change = 0.0;
        self.computed = Some(Computed { before: latents.clone(), latents, velocity: velocity.clone() });
        Ok(velocity)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use burn::tensor::Device;

    fn latents(value: f32) -> Tensor<4> {
        Tensor::from_floats([[[[value, -value]]]], &Device::flex())
    }

    /// With velocities of half the input, a change of the input by 0.1 is one of the velocity by 0.05.
    #[test]
    fn expected_changes_add_up_to_the_threshold() {
        let mut cache = EasyCache::new(0.25, 0.0, 1.0);
        let mut evaluations = 0;
        let mut velocity_at = |input: f32, index| {
            let velocity = cache.velocity::<Infallible>([index, 10], latents(input), |x| {
                evaluations += 1;
                Ok(x * 0.5)
            });
            velocity.unwrap().into_data().iter::<f32>().next().unwrap()
        };
        assert!((velocity_at(2.0, 0) - 1.0).abs() < 1e-6);
        assert!((velocity_at(1.0, 1) - 0.5).abs() < 1e-6);
        // Changes of 0.1 each, of a velocity of 0.5; the velocity moves with the input, as the paper has it.
        assert!((velocity_at(0.9, 2) - 0.4).abs() < 1e-6);
        assert!((velocity_at(0.8, 3) - 0.3).abs() < 1e-6);
        assert!((velocity_at(0.7, 4) - 0.35).abs() < 1e-6);
        assert_eq!(evaluations, 3);
        let report = cache.report();
        assert_eq!((report.evaluations, report.reused), (5, 2));
        assert!((report.largest_change - 0.2).abs() < 1e-5);
    }

    #[test]
    fn steps_outside_of_the_window_are_computed() {
        let mut cache = EasyCache::new(1e9, 0.5, 0.75);
        for index in 0..8 {
            cache.velocity::<Infallible>([index, 8], latents(8.0 - index as f32), Ok).unwrap();
        }
        assert_eq!((cache.report().evaluations, cache.report().reused), (8, 2));
    }
}
