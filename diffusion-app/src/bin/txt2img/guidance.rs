//! Options of guidance.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::str::FromStr;

use clap::{Args, ValueEnum};
use diffusion_models::{Guidance, GuidanceEvaluation, GuidanceMethod};
use diffusion_schedulers::guidance::{GuidanceInterval, SkipLayerGuidance};

/// How the velocities under both prompts are combined.
#[derive(Args, Debug)]
#[command(next_help_heading = "Guidance")]
pub(crate) struct GuidanceArguments {
    /// Formula of classifier-free guidance.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = GuidanceName::Cfg)]
    guidance: GuidanceName,
    /// Ask the network for one prompt after the other: the same picture with half of the memory for activations.
    #[arg(long)]
    sequential_guidance: bool,
    /// Share, from 0 to 1, to which the guided velocity is scaled back to the deviation of the unguided one; 0.7 in the paper.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    guidance_rescale: f64,
    /// Guide only at noise levels above LOW and up to HIGH, such as 0.2,0.9; elsewhere steps take half of the time.
    #[arg(long, value_name = "LOW,HIGH")]
    guidance_interval: Option<Interval>,
    /// Steps at the start that --guidance zero-star stands still in.
    #[arg(long, value_name = "N", default_value_t = 1)]
    zero_steps: usize,
    /// Share that --guidance apg keeps of the guidance along the picture.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    apg_along: f64,
    /// Longest guidance of --guidance apg [default: no limit].
    #[arg(long, value_name = "X")]
    apg_longest: Option<f64>,
    /// Share of the past guidance that --guidance apg adds, such as -0.5.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    apg_momentum: f64,

    /// Blocks to leave out for skip-layer guidance, such as 7,8,9 for Stable Diffusion 3.5 Medium.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    skip_layers: Vec<usize>,
    /// Scale of skip-layer guidance.
    #[arg(long, value_name = "X", requires = "skip_layers")]
    slg_scale: Option<f64>,
    /// Share of the steps after which skip-layer guidance starts.
    #[arg(long, value_name = "X", requires = "skip_layers")]
    slg_start: Option<f64>,
    /// Share of the steps before which skip-layer guidance stops.
    #[arg(long, value_name = "X", requires = "skip_layers")]
    slg_stop: Option<f64>,
}

/// A formula by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GuidanceName {
    /// Plain classifier-free guidance.
    Cfg,
    /// CFG-Zero*, for flows.
    ZeroStar,
    /// Adaptive projected guidance: high scales without oversaturation.
    Apg,
}

/// Two noise levels.
#[derive(Clone, Copy, Debug)]
struct Interval(GuidanceInterval);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let levels = text.split_once(',').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        let (above, up_to) = levels.ok_or("expected two noise levels, such as 0.2,0.9")?;
        Ok(Self(GuidanceInterval { above, up_to }))
    }
}

impl GuidanceArguments {
    /// The setting of the pipeline.
    pub(crate) fn guidance(&self) -> Guidance {
        let method = match self.guidance {
            GuidanceName::Cfg => GuidanceMethod::ClassifierFree,
            GuidanceName::ZeroStar => GuidanceMethod::ZeroStar { zero_steps: self.zero_steps },
            GuidanceName::Apg => GuidanceMethod::AdaptiveProjected {
                along: self.apg_along,
                longest: self.apg_longest,
                momentum: self.apg_momentum,
            },
        };
        let evaluation = if self.sequential_guidance { GuidanceEvaluation::Sequential } else { GuidanceEvaluation::Batched };
        let interval = self.guidance_interval.map(|Interval(interval)| interval);
        Guidance { method, rescale: self.guidance_rescale, interval, evaluation }
    }

    /// The setting of the pipeline.
    pub(crate) fn skip_layers(&self) -> Option<SkipLayerGuidance> {
        let default = SkipLayerGuidance::of_layers(self.skip_layers.clone());
        (!self.skip_layers.is_empty()).then(|| SkipLayerGuidance {
            scale: self.slg_scale.unwrap_or(default.scale),
            start: self.slg_start.unwrap_or(default.start),
            stop: self.slg_stop.unwrap_or(default.stop),
            ..default
        })
    }

    /// Options that were given and have no effect without classifier-free guidance.
    pub(crate) fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("--skip-layers", !self.skip_layers.is_empty()),
            ("--guidance", self.guidance != GuidanceName::Cfg),
            ("--guidance-rescale", self.guidance_rescale > 0.0),
            ("--guidance-interval", self.guidance_interval.is_some()),
            ("--sequential-guidance", self.sequential_guidance),
        ];
        given.into_iter().filter_map(|(option, given)| given.then_some(option))
    }
}
