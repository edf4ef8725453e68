//! How a run is trained: what was given, and the model's advice for the rest.

use std::collections::BTreeMap;

use diffusion_core::network::GradientOptions;
use diffusion_lora::train::{LearningRateSchedule, OptimizerSettings, TimestepSampling, TimestepShift, TrainerSettings};
use diffusion_models::{ModelInfo, TrainingAdvice};

use crate::arguments::Arguments;
use crate::sampling::timestep_sampling;

/// Learning rate of `AdamW` for the miniature.
const MINIATURE_LEARNING_RATE: f64 = 1e-3;
/// Steps of the warm-up at most, and its share of the run.
const MOST_WARM_UP: usize = 100;
const WARM_UP_SHARE: usize = 20;
/// What a run that goes on has in common with the one before.
const WARM_UP: &str = "steps of warm-up";

/// How much faster the transformer learns than text encoders. Reference: diffusers 0.42.1 `train_dreambooth_lora_sd3.py`, 1e-4 and
/// 5e-6.
const TEXT_ENCODER_SLOWNESS: f64 = 20.0;

/// How a run is trained.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    pub(crate) trainer: TrainerSettings,
    pub(crate) levels: TimestepSampling,
    pub(crate) caption_dropout: f64,
}

impl RunSettings {
    /// `earlier` is the identity of the run that this one goes on with, if there is one.
    pub(crate) fn new(arguments: &Arguments, info: &ModelInfo, earlier: &BTreeMap<String, String>) -> Result<Self, String> {
        let (steps, noise, advice) = (&arguments.steps, &arguments.noise, &info.training);
        let optimizer = match steps.weight_decay {
            Some(decay) => steps.optimizer.with_weight_decay(decay),
            None => steps.optimizer,
        };
        optimizer.check().map_err(|error| error.to_string())?;
        let advised = match optimizer {
            // The miniature is small and learns fast.
            OptimizerSettings::AdamW(_) if arguments.model.model.is_none() => MINIATURE_LEARNING_RATE,
            OptimizerSettings::AdamW(_) => advice.learning_rate,
            other => other.usual_learning_rate(),
        };
        // A run that goes on for longer than it was to has warmed up already.
        let earlier_warm_up = || earlier.get(WARM_UP)?.parse().ok();
        let usual_warm_up = || (arguments.num_steps() / WARM_UP_SHARE).min(MOST_WARM_UP);
        let warm_up_steps = steps.warmup_steps.or_else(earlier_warm_up).unwrap_or_else(usual_warm_up);
        let schedule = LearningRateSchedule { course: steps.lr_scheduler, warm_up_steps, total_steps: arguments.num_steps() };
        let longest = steps.max_grad_norm.unwrap_or(advice.max_gradient_norm);
        let learning_rate = steps.learning_rate.unwrap_or(advised);
        let text_encoder_learning_rate = match (steps.text_encoder_learning_rate, optimizer) {
            _ if !arguments.adapter.train_text_encoders => None,
            (Some(rate), _) => Some(rate),
            // It finds the rate itself, for all parameters together.
            (None, OptimizerSettings::Prodigy(_)) => Some(learning_rate),
            (None, _) => Some(learning_rate / TEXT_ENCODER_SLOWNESS),
        };
        let takes_guidance = advice.distilled_guidance.is_some();
        if noise.guidance.is_some() && !takes_guidance {
            return Err("--guidance has no effect: this model takes no guidance as an input".to_owned());
        }
        Ok(Self {
            trainer: TrainerSettings {
                optimizer,
                learning_rate,
                text_encoder_learning_rate,
                schedule,
                max_gradient_norm: (longest > 0.0).then_some(longest),
                accumulation: steps.accumulate,
                weighting: noise.weighting,
                space: noise.loss,
                average_decay: steps.ema,
                distilled_guidance: noise.guidance.or(advice.distilled_guidance),
                gradients: GradientOptions { kept_graphs: steps.keep_graphs.unwrap_or(1), ..GradientOptions::default() },
            },
            levels: timestep_sampling(noise, advice),
            caption_dropout: arguments.data.caption_dropout.unwrap_or(advice.caption_dropout),
        })
    }

    /// Lines that say everything that was chosen.
    pub(crate) fn describe(&self, arguments: &Arguments, advice: &TrainingAdvice) -> Vec<String> {
        let TrainerSettings { optimizer, learning_rate, schedule, max_gradient_norm, accumulation, .. } = &self.trainer;
        let mut lines = vec![
            format!(
                "{} steps of {} x {accumulation} pictures, {optimizer} ({}) with learning rate {learning_rate}, {} after {} steps \
                 of warm-up, gradients {}",
                schedule.total_steps,
                arguments.batch_size(),
                optimizer.describe(),
                schedule.course,
                schedule.warm_up_steps,
                max_gradient_norm.map_or("of any length".to_owned(), |longest| format!("at most {longest} long")),
            ),
            format!(
                "noise levels spread as {}, {}; errors of the {}, weighting {}{}",
                self.levels.density,
                match self.levels.shift {
                    TimestepShift::Constant(shift) => format!("shifted by {shift}"),
                    TimestepShift::None => "not shifted".to_owned(),
                    _ => "shifted by resolution".to_owned(),
                },
                self.trainer.space,
                self.trainer.weighting,
                self.trainer.distilled_guidance.map_or_else(String::new, |guidance| format!(", guidance {guidance}")),
            ),
        ];
        let of_text_encoders = self.trainer.text_encoder_learning_rate;
        lines.extend(of_text_encoders.map(|rate| format!("text encoders are trained along, with learning rate {rate}")));
        lines.extend(advice.caution.map(|caution| format!("note: {caution}")));
        lines
    }

    /// What a run must have in common with the one that it goes on with, by name.
    pub(crate) fn identity(&self, arguments: &Arguments) -> BTreeMap<String, String> {
        let TrainerSettings { optimizer, learning_rate, schedule, max_gradient_norm, accumulation, .. } = &self.trainer;
        let adapter = &arguments.adapter;
        let steps_count = schedule.course != diffusion_lora::train::LearningRateCourse::Constant;
        let mut identity = vec![
            ("targets", adapter.targets.to_string()),
            ("method", adapter.method.to_string()),
            ("rank", arguments.rank().to_string()),
            ("ranks of layers", adapter.rank_of.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            ("alpha", format!("{:?}", adapter.alpha)),
            ("optimiser", format!("{optimizer:?}")),
            ("learning rate", learning_rate.to_string()),
            // A run at a constant rate may go on for longer than it was to.
            (
                "schedule",
                format!(
                    "{}{}",
                    schedule.course,
                    if steps_count { format!(" of {}", schedule.total_steps) } else { String::new() }
                ),
            ),
            (WARM_UP, schedule.warm_up_steps.to_string()),
            ("longest gradient", format!("{max_gradient_norm:?}")),
            ("accumulated batches", accumulation.to_string()),
            ("moving average", format!("{:?}", self.trainer.average_decay)),
            ("noise levels", format!("{:?}", self.levels)),
            ("loss", format!("{} {}", self.trainer.space, self.trainer.weighting)),
            ("guidance", format!("{:?}", self.trainer.distilled_guidance)),
            ("precision", arguments.model.precision.to_string()),
            ("seed", arguments.steps.seed.to_string()),
        ];
        let of_text_encoders = self.trainer.text_encoder_learning_rate;
        identity.extend(of_text_encoders.map(|rate| ("text encoders", format!("trained with learning rate {rate}"))));
        identity.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
