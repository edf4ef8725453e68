//! Guidance: combinations of velocities. Samplers never know that it exists.
//!
//! Each takes the velocity under the prompt (`positive`) and the one under the negative or empty prompt (`negative`), both
//! `[batch, channels, height, width]`, and treats the pictures of a batch separately.

mod adaptive_projected;
mod classifier_free;
mod interval;
mod rescale;
mod skip_layer;
mod zero_star;

pub use adaptive_projected::{AdaptiveProjectedGuidance, AdaptiveProjectedRun};
pub use classifier_free::classifier_free;
pub use interval::GuidanceInterval;
pub use rescale::rescale;
pub use skip_layer::SkipLayerGuidance;
pub use zero_star::CfgZeroStar;

use burn::tensor::Tensor;

/// The sum over everything but the batch: `[batch, 1, 1, 1]`.
fn sum_per_picture(x: Tensor<4>) -> Tensor<4> {
    x.sum_dims(&[1, 2, 3])
}
