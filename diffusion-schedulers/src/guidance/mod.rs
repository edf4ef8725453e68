//! Guidance: combinations of velocities. Samplers never know that it exists.

mod classifier_free;
mod skip_layer;

pub use classifier_free::classifier_free;
pub use skip_layer::SkipLayerGuidance;
