//! Training adapters of one's own, for any network of blocks.

mod average;
mod batch;
mod clipping;
mod file;
mod learning_rate;
mod optimizer;
mod random;
mod setting_error;
mod timesteps;
mod unknown_name;
mod weighting;

pub use average::MovingAverage;
pub use batch::{Batch, Batches};
pub use clipping::{GradientsNotFinite, clip_global_norm, global_norm};
pub use file::{
    FactorFormat, KroneckerFactor, LoraSpelling, TrainedFactors, TrainedLora, TrainedLoraError, TrainedModule, TrainingNotes,
};
pub use learning_rate::{LearningRateCourse, LearningRateSchedule};
pub use optimizer::{
    Adafactor, AdafactorSettings, AdamW, AdamWSettings, Lion, LionSettings, Optimizer, OptimizerSettings, OptimizerState,
    OptimizerStateError, Prodigy, ProdigySettings,
};
pub use random::TrainingRandom;
pub use setting_error::SettingError;
pub use timesteps::{TimestepDensity, TimestepGrid, TimestepSampling, TimestepShift};
pub use unknown_name::UnknownName;
pub use weighting::{LossSpace, LossWeighting};
