//! Guidance without overexposure.

use burn::tensor::Tensor;

use super::sum_per_image::sum_per_image;

/// Move the standard deviation of the guided velocity by this share to that of the velocity under the prompt. Strong guidance
/// raises the deviation, and with it contrast and saturation. The paper's share is 0.7.
///
/// Reference: diffusers `guiders/guider_utils.py` at 58eb52c (`rescale_noise_cfg`); arXiv 2305.08891, section 3.4.
pub fn rescale(guided: Tensor<4>, positive: Tensor<4>, share: f64) -> Tensor<4> {
    let spread = |x: Tensor<4>| {
        let [_, channels, height, width] = x.dims();
        let mean = sum_per_image(x.clone()) / (channels * height * width) as f64;
        sum_per_image((x - mean).square()).sqrt()
    };
    // A velocity without any spread stays as it is.
    let ratio = spread(positive) / spread(guided.clone()).clamp_min(f64::from(f32::MIN_POSITIVE));
    guided * (ratio * share + (1.0 - share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_spread_becomes_that_of_the_prompt() {
        let device = Device::flex();
        let guided = Tensor::<4>::from_floats([[[[3.0, -1.0, 7.0]]], [[[2.0, 4.0, 9.0]]]], &device);
        let positive = Tensor::<4>::from_floats([[[[1.5, -0.5, 3.5]]], [[[6.0, 12.0, 27.0]]]], &device);
        let full = rescale(guided.clone(), positive.clone(), 1.0);
        assert!(full.all_close(positive.clone(), None, Some(1e-5)));
        let half = rescale(guided.clone(), positive.clone(), 0.5);
        assert!(half.all_close((guided.clone() + positive.clone()) * 0.5, None, Some(1e-5)));
        assert!(rescale(guided.clone(), positive, 0.0).all_close(guided, None, None));
    }

    #[test]
    fn a_constant_velocity_stays_finite() {
        let constant = Tensor::<4>::ones([1, 1, 2, 2], &Device::flex());
        assert!(rescale(constant.clone(), constant, 0.7).is_finite().all().into_scalar::<bool>());
    }
}
