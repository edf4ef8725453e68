//! Options of guidance.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::str::FromStr;

use clap::Args;
use diffusion_models::{Guidance, GuidanceEvaluation, GuidanceMethod};
use diffusion_schedulers::guidance::{GuidanceInterval, SkipLayerGuidance};

use diffusion_app::cli::numbers::{MAX_SCALE, number, number_above, whole};

/// How the velocities under both prompts are combined.
#[derive(Args, Debug)]
#[command(next_help_heading = "Guidance")]
pub(crate) struct GuidanceArguments {
    /// Formula of classifier-free guidance: `cfg` is plain, `zero-star` is CFG-Zero* for flows, `apg` is adaptive projected
    /// guidance, for high scales without oversaturation.
    #[arg(long, value_name = "NAME", default_value_t = GuidanceMethod::ClassifierFree)]
    guidance: GuidanceMethod,
    /// Run the network for one prompt after the other: the same image with half of the memory for activations.
    #[arg(long)]
    sequential_guidance: bool,
    /// Share, from 0 to 1, to which the guided velocity is scaled back to the deviation of the unguided one; 0.7 in the paper.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = number(0.0..=1.0))]
    guidance_rescale: f64,
    /// Guide only at noise levels above LOW and up to HIGH, such as 0.2,0.9; elsewhere steps take half of the time.
    #[arg(long, allow_hyphen_values = true, value_name = "LOW,HIGH")]
    guidance_interval: Option<Interval>,
    /// Steps at the start that --guidance zero-star stands still in.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=10_000_usize))]
    zero_steps: usize,
    /// Share that --guidance apg keeps of the guidance parallel to the image.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, alias = "apg-along", value_parser = number(-MAX_SCALE..=MAX_SCALE))]
    apg_eta: f64,
    /// Largest norm of the guidance of --guidance apg [default: no limit].
    #[arg(long, value_name = "X", alias = "apg-longest", value_parser = number_above(0.0, 1e6))]
    apg_norm_threshold: Option<f64>,
    /// Share of the past guidance that --guidance apg adds, such as -0.5.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = number(-1.0..=1.0))]
    apg_momentum: f64,

    /// Blocks to leave out for skip-layer guidance, such as 7,8,9 for Stable Diffusion 3.5 Medium.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = whole(0..=999_usize))]
    skip_layers: Vec<usize>,
    /// Scale of skip-layer guidance.
    #[arg(long, value_name = "X", value_parser = number(0.0..=MAX_SCALE), requires = "skip_layers")]
    slg_scale: Option<f64>,
    /// Share of the steps after which skip-layer guidance starts.
    #[arg(long, value_name = "X", value_parser = number(0.0..=1.0), requires = "skip_layers")]
    slg_start: Option<f64>,
    /// Share of the steps before which skip-layer guidance stops.
    #[arg(long, value_name = "X", value_parser = number(0.0..=1.0), requires = "skip_layers")]
    slg_stop: Option<f64>,
}

/// Two noise levels.
#[derive(Clone, Copy, Debug)]
struct Interval(GuidanceInterval);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let levels = text.split_once(',').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        let (start, end) = levels.ok_or("expected two noise levels, such as 0.2,0.9")?;
        Ok(Self(GuidanceInterval { start, end }))
    }
}

impl GuidanceArguments {
    /// The setting of the pipeline.
    pub(crate) fn guidance(&self) -> Guidance {
        let method = match self.guidance {
            GuidanceMethod::ZeroStar { .. } => GuidanceMethod::ZeroStar { zero_steps: self.zero_steps },
            GuidanceMethod::AdaptiveProjected { .. } => GuidanceMethod::AdaptiveProjected {
                eta: self.apg_eta,
                norm_threshold: self.apg_norm_threshold,
                momentum: self.apg_momentum,
            },
            other => other,
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

    /// Options that were given, all of which need classifier-free guidance.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("--skip-layers", !self.skip_layers.is_empty()),
            ("--guidance", self.guidance != GuidanceMethod::ClassifierFree),
            ("--guidance-rescale", self.guidance_rescale > 0.0),
            ("--guidance-interval", self.guidance_interval.is_some()),
            ("--sequential-guidance", self.sequential_guidance),
        ];
        given.into_iter().filter_map(|(option, given)| given.then_some(option))
    }
}
