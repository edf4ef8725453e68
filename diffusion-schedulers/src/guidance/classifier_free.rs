//! Classifier-free guidance.

use burn::tensor::Tensor;

/// `negative + scale (positive - negative)`: away from the negative prompt, towards the positive one.
///
/// Reference: arXiv 2207.12598; diffusers `pipeline_stable_diffusion_3.py#L1081` at 58eb52c.
pub fn classifier_free(positive: Tensor<4>, negative: Tensor<4>, scale: f64) -> Tensor<4> {
    negative.clone() + (positive - negative) * scale
}
