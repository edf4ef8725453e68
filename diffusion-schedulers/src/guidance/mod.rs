//! Guidance: combinations of velocities. Samplers do not know of it.
//!
//! Each takes the velocity under the prompt (`positive`) and the one under the negative or empty prompt (`negative`), both
//! `[batch, channels, height, width]`. Each treats the images of a batch separately.

mod adaptive_projected;
mod classifier_free;
mod interval;
mod method;
mod rescale;
mod run;
mod skip_layer;
mod sum_per_image;
mod zero_star;

pub use adaptive_projected::{AdaptiveProjectedGuidance, AdaptiveProjectedRun};
pub use classifier_free::classifier_free;
pub use interval::GuidanceInterval;
pub use method::{Guidance, GuidanceEvaluation, GuidanceMethod};
pub use rescale::rescale;
pub use run::GuidanceRun;
pub use skip_layer::SkipLayerGuidance;
pub use zero_star::CfgZeroStar;
