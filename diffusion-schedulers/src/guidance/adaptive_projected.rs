//! Adaptive projected guidance: high scales without oversaturation.

use burn::tensor::Tensor;

use super::sum_per_image::sum_per_image;

/// Guidance in three parts: it weakens the component parallel to the image, which causes oversaturation; it bounds the norm;
/// and it adds momentum. With `eta: 1.0`, no bound and no momentum it is classifier-free guidance.
///
/// It works on images `x₀ = x - σ velocity`, as the paper does, and so needs the latents and the noise level as well.
///
/// Reference: arXiv 2410.02416; diffusers `guiders/adaptive_projected_guidance.py` at 58eb52c, which applies the
/// same to the network's own output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveProjectedGuidance {
    /// Guidance scale, 1 for none.
    pub scale: f64,
    /// Share of the component parallel to the image that is kept (η): 0 in the paper.
    pub eta: f64,
    /// Upper bound of the guidance's norm (r), `None` for no bound: the paper has 15 for Stable Diffusion XL.
    pub norm_threshold: Option<f64>,
    /// Factor on the guidance of the steps before, which is added (β): negative in the paper, -0.5 for Stable Diffusion XL.
    pub momentum: f64,
}

impl AdaptiveProjectedGuidance {
    /// Guidance without the component parallel to the image, without bound and momentum.
    pub fn new(scale: f64) -> Self {
        Self { scale, eta: 0.0, norm_threshold: None, momentum: 0.0 }
    }

    /// Begin a run, whose momentum is zero.
    pub fn begin(&self) -> AdaptiveProjectedRun {
        AdaptiveProjectedRun { settings: *self, past: None }
    }
}

/// One run of [`AdaptiveProjectedGuidance`].
#[derive(Clone, Debug)]
pub struct AdaptiveProjectedRun {
    settings: AdaptiveProjectedGuidance,
    past: Option<Tensor<4>>,
}

impl AdaptiveProjectedRun {
    /// The guided velocity of `latents` at noise level `sigma`, above 0. Call it once a step, because of the momentum.
    pub fn apply(&mut self, latents: Tensor<4>, sigma: f64, positive: Tensor<4>, negative: Tensor<4>) -> Tensor<4> {
        let AdaptiveProjectedGuidance { scale, eta, norm_threshold, momentum } = self.settings;
        let image = latents - positive.clone() * sigma;
        // The difference of the images is that of the velocities times -σ.
        let mut guidance = (negative - positive.clone()) * sigma;
        if momentum != 0.0 {
            if let Some(past) = self.past.take() {
                guidance = guidance + past * momentum;
            }
            self.past = Some(guidance.clone());
        }
        if let Some(threshold) = norm_threshold {
            let norm = sum_per_image(guidance.clone().square()).sqrt();
            guidance = guidance * (norm.clamp_min(f64::from(f32::MIN_POSITIVE)).recip() * threshold).clamp_max(1.0);
        }
        let norm_squared = sum_per_image(image.clone().square()).clamp_min(f64::from(f32::MIN_POSITIVE));
        let parallel = image.clone() * (sum_per_image(guidance.clone() * image) / norm_squared);
        let kept = guidance - parallel * (1.0 - eta);
        positive - kept * ((scale - 1.0) / sigma)
    }
}

#[cfg(test)]
mod tests {
    use super::super::classifier_free;
    use super::*;
    use burn::tensor::Device;

    fn one(values: [f32; 2]) -> Tensor<4> {
        Tensor::from_floats([[[values]]], &Device::flex())
    }

    #[test]
    fn all_of_the_guidance_is_classifier_free() {
        let settings = AdaptiveProjectedGuidance { eta: 1.0, ..AdaptiveProjectedGuidance::new(5.0) };
        let guided = settings.begin().apply(one([0.3, -2.0]), 0.7, one([1.0, 2.0]), one([0.5, -1.0]));
        assert!(guided.all_close(classifier_free(one([1.0, 2.0]), one([0.5, -1.0]), 5.0), None, Some(1e-5)));
    }

    /// At σ = 0.5 the images are (1, 0) and (0, 1). The guidance (1, -1) without its component parallel to (1, 0) is (0, -1).
    #[test]
    fn the_component_parallel_to_the_image_is_left_out() {
        let (latents, positive, negative) = (one([2.0, 0.0]), one([2.0, 0.0]), one([4.0, -2.0]));
        let mut run = AdaptiveProjectedGuidance::new(3.0).begin();
        let image = latents.clone() - run.apply(latents.clone(), 0.5, positive.clone(), negative.clone()) * 0.5;
        assert!(image.all_close(one([1.0, -2.0]), None, Some(1e-5)));
        let settings = AdaptiveProjectedGuidance { norm_threshold: Some(0.5f64.sqrt()), ..AdaptiveProjectedGuidance::new(3.0) };
        let image = latents.clone() - settings.begin().apply(latents.clone(), 0.5, positive, negative) * 0.5;
        assert!(image.all_close(one([1.0, -1.0]), None, Some(1e-5)));
    }

    #[test]
    fn momentum_counts_from_the_second_step_on() {
        let settings = AdaptiveProjectedGuidance { eta: 1.0, momentum: -0.5, ..AdaptiveProjectedGuidance::new(2.0) };
        let mut run = settings.begin();
        let mut step = || run.apply(one([0.0, 0.0]), 1.0, one([1.0, 1.0]), one([0.0, 0.0]));
        assert!(step().all_close(one([2.0, 2.0]), None, Some(1e-5)));
        assert!(step().all_close(one([1.5, 1.5]), None, Some(1e-5)));
    }
}
