//! Training adapters of one's own, for any network of blocks.
//!
//! A [`Trainer`] holds adapters that a network computes with ([`TrainedAdapter::patch`]). Each step takes [`Batches`], asks the
//! network for gradients one block at a time, and lets an [`Optimizer`] change the adapters. Every part is a value that is of use
//! alone: noise levels ([`TimestepSampling`]), losses ([`Batch::loss`]), optimisers, schedules, averages.

mod adapter;
mod average;
mod batch;
mod clipping;
mod error;
mod file;
mod learning_rate;
mod loss;
mod optimizer;
mod parameter_groups;
mod random;
mod setting_error;
mod start;
mod state_file;
mod targets;
mod timesteps;
mod trainer;
mod unknown_name;
mod weighting;

pub use adapter::{Method, Part, TrainedAdapter};
pub use average::MovingAverage;
pub use batch::{Batch, Batches};
pub use clipping::{GradientsNotFinite, clip_global_norm, global_norm};
pub use error::TrainError;
pub use file::{
    FactorFormat, KroneckerFactor, LoraSpelling, TrainedFactors, TrainedLora, TrainedLoraError, TrainedModule, TrainingNotes,
};
pub use learning_rate::{LearningRateCourse, LearningRateSchedule};
pub use loss::Loss;
pub use optimizer::{
    Adafactor, AdafactorSettings, AdamW, AdamWSettings, Lion, LionSettings, Optimizer, OptimizerSettings, OptimizerState,
    OptimizerStateError, Prodigy, ProdigySettings,
};
pub use random::TrainingRandom;
pub use setting_error::SettingError;
pub use start::adapters_of;
pub use state_file::{StateFileError, read_state, read_state_notes, write_state};
pub use targets::{ParseTargetsError, TargetLayer, Targets, trainable_layers};
pub use timesteps::{TimestepDensity, TimestepGrid, TimestepSampling, TimestepShift};
pub use trainer::{StepReport, Trainer, TrainerSettings, TrainerState, TrainerStateError};
pub use unknown_name::UnknownName;
pub use weighting::{LossSpace, LossWeighting};
