//! Which field the pipeline is unhappy with.

use diffusion_core::{ScheduleError, SettingError};
use diffusion_models::PipelineError;
use diffusion_schedulers::kind::KindError;

use crate::refusal::{Refusal, RefusalKind};

/// A refusal that names the field that the pipeline is unhappy with.
pub(super) fn refused(error: PipelineError) -> Refusal {
    let field = match &error {
        PipelineError::Size { .. } => Some("width"),
        PipelineError::MaskSize { .. } => Some("mask"),
        PipelineError::Schedule(error) | PipelineError::Kind(KindError::Setting(error)) => schedule_field(error),
        PipelineError::Kind(_) => Some("schedule"),
        PipelineError::Setting(SettingError { setting, .. }) => field_of(setting),
        _ => return Refusal::internal(&error),
    };
    let refusal = Refusal::new(RefusalKind::Invalid, error.to_string());
    field.into_iter().fold(refusal, Refusal::at)
}

fn schedule_field(error: &ScheduleError) -> Option<&'static str> {
    match error {
        ScheduleError::TooFew { .. } | ScheduleError::NotFalling { .. } => Some("steps"),
        ScheduleError::Setting { setting, .. } => field_of(setting),
        _ => Some("sigmas"),
    }
}

/// Fields by what the pipeline calls their settings.
const FIELDS: [(&str, &str); 20] = [
    ("guidance scale", "guidance_scale"),
    ("distilled guidance", "guidance_scale"),
    ("guidance rescale", "guidance.rescale"),
    ("guidance interval", "guidance.interval"),
    ("number of zero steps", "guidance.zero_steps"),
    ("eta of projected guidance", "guidance.eta"),
    ("norm threshold of projected guidance", "guidance.norm_threshold"),
    ("guidance momentum", "guidance.momentum"),
    ("layers to skip", "skip_layers.layers"),
    ("layer to skip", "skip_layers.layers"),
    ("scale of skip-layer guidance", "skip_layers.scale"),
    ("start of skip-layer guidance", "skip_layers.start"),
    ("stop of skip-layer guidance", "skip_layers.stop"),
    ("threshold of the step cache", "step_cache.threshold"),
    ("maximum sequence length", "max_sequence_length"),
    ("number of steps", "steps"),
    ("strength", "strength"),
    ("init image", "image"),
    ("shift", "shift"),
    ("shift_terminal", "shift_terminal"),
];

fn field_of(setting: &str) -> Option<&'static str> {
    FIELDS.iter().find(|(name, _)| *name == setting).map(|(_, field)| *field)
}
