//! CFG-Zero*: guidance for flows that are not learnt perfectly.

use burn::tensor::Tensor;

use super::classifier_free::classifier_free;
use super::sum_per_image::sum_per_image;

/// Classifier-free guidance from the multiple of the negative velocity that is nearest to the positive one. The latents do not
/// move in the first steps, where the velocity of a network that is not fully trained does more harm than none.
///
/// Reference: diffusers `guiders/classifier_free_zero_star_guidance.py` at 58eb52c; arXiv 2503.18886.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CfgZeroStar {
    /// Guidance scale, 1 for none.
    pub scale: f64,
    /// Number of steps at the start without movement: 1 in the reference.
    pub zero_steps: usize,
}

impl CfgZeroStar {
    /// One step without movement, as in the reference.
    pub fn new(scale: f64) -> Self {
        Self { scale, zero_steps: 1 }
    }

    /// Whether step `index` is one without movement, which needs no evaluation of the network.
    pub fn is_zero_step(&self, index: usize) -> bool {
        index < self.zero_steps
    }

    /// The guided velocity of a step with movement.
    pub fn apply(&self, positive: Tensor<4>, negative: Tensor<4>) -> Tensor<4> {
        /// Keeps the quotient finite for a negative velocity of zero.
        const SMALL: f64 = 1e-8;
        let multiple = sum_per_image(positive.clone() * negative.clone()) / (sum_per_image(negative.clone().square()) + SMALL);
        classifier_free(positive, negative * multiple, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_negative_velocity_of_the_same_direction_has_no_effect() {
        let positive = Tensor::<4>::from_floats([[[[1.0, -2.0]]], [[[3.0, 5.0]]]], &Device::flex());
        let guided = CfgZeroStar::new(7.0).apply(positive.clone(), positive.clone() * 0.25);
        assert!(guided.all_close(positive, None, Some(1e-5)));
    }

    /// Negative (1, 1), positive (3, 1): the nearest multiple is 2, so (2, 2) + 4 (1, -1).
    #[test]
    fn guidance_starts_from_the_nearest_multiple() {
        let device = Device::flex();
        let positive = Tensor::<4>::from_floats([[[[3.0, 1.0]]]], &device);
        let guided = CfgZeroStar::new(4.0).apply(positive, Tensor::ones([1, 1, 1, 2], &device));
        assert!(guided.all_close(Tensor::from_floats([[[[6.0, -2.0]]]], &device), None, Some(1e-5)));
    }

    #[test]
    fn only_the_first_steps_stand_still() {
        assert_eq!([0, 1].map(|index| CfgZeroStar::new(4.0).is_zero_step(index)), [true, false]);
    }
}
