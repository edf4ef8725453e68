//! Sums over the numbers of each image.

use burn::tensor::Tensor;

/// The sum over everything but the batch: `[batch, 1, 1, 1]`.
pub(super) fn sum_per_image(x: Tensor<4>) -> Tensor<4> {
    x.sum_dims(&[1, 2, 3])
}
