//! How to draw.

use std::str::FromStr;

use diffusion_core::Sigmas;
use diffusion_schedulers::guidance::{GuidanceInterval, SkipLayerGuidance};
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};

use crate::error::PipelineError;
use crate::image_decoder::Tiling;
use crate::step_cache::StepCache;

/// How to draw. [`Pipeline::default_settings`](crate::Pipeline::default_settings) gives what a model's authors recommend.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Number of steps.
    pub num_steps: usize,
    /// How to get from one noise level to the next.
    pub sampler: SamplerKind,
    /// Seeds of the noise that some samplers add on the way, one for each picture that is drawn at once.
    pub sampler_seeds: Vec<u64>,
    /// Noise levels in place of those that the model was released with.
    pub schedule: Option<ScheduleKind>,
    /// Shift of the noise levels in place of the model's.
    pub shift: Option<NoiseShift>,
    /// Noise level of the last step, above 0 and below 1, that the others are stretched to; custom `sigmas` are not.
    pub shift_terminal: Option<f64>,
    /// Exactly these noise levels, in place of a schedule and of the number of steps.
    pub sigmas: Option<Sigmas>,
    /// How strictly to follow the prompt: the scale of classifier-free guidance for Stable Diffusion 3, where 1 or less
    /// runs without; the distilled guidance for FLUX.1-dev.
    pub guidance_scale: f64,
    /// Scale of classifier-free guidance for FLUX.1, which is made to do without: 1 or less.
    pub true_cfg_scale: f64,
    /// How the velocities under both prompts are combined, where there is classifier-free guidance.
    pub guidance: Guidance,
    /// Tokens that T5 sees.
    pub max_sequence_length: usize,
    /// Skip-layer guidance, on top of classifier-free guidance; Stable Diffusion 3 only.
    pub skip_layers: Option<SkipLayerGuidance>,
    /// Whether work of earlier steps is used again, at the price of exactness.
    pub step_cache: StepCache,
    /// Whether the picture is decoded whole or in tiles.
    pub tiling: Tiling,
}

/// How far noise levels are moved towards noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseShift {
    /// By this factor: 1 for not at all.
    Constant(f64),
    /// The further, the larger the picture, as FLUX.1-dev has it.
    ByResolution,
}

/// The name of [`NoiseShift::ByResolution`].
const BY_RESOLUTION: &str = "dynamic";

impl FromStr for NoiseShift {
    type Err = PipelineError;

    /// A number, or `dynamic`.
    fn from_str(text: &str) -> Result<Self, PipelineError> {
        if text == BY_RESOLUTION {
            return Ok(Self::ByResolution);
        }
        let expected = || PipelineError::setting("shift", format!("a number, or \"{BY_RESOLUTION}\""), text);
        text.parse().map(Self::Constant).map_err(|_| expected())
    }
}

/// How the velocities under the positive and the negative prompt become one. Its scale is a setting of its own.
///
/// The default is plain classifier-free guidance at all noise levels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guidance {
    /// The formula.
    pub method: GuidanceMethod,
    /// Share, from 0 to 1, to which the guided velocity gets the deviation of the one under the prompt: 0 for none, 0.7 in
    /// the paper. See [`rescale`](diffusion_schedulers::guidance::rescale).
    pub rescale: f64,
    /// Noise levels at which to guide, in place of all.
    pub interval: Option<GuidanceInterval>,
    /// How the network is asked for both velocities.
    pub evaluation: GuidanceEvaluation,
}

/// The formula of guidance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum GuidanceMethod {
    /// [Classifier-free guidance](diffusion_schedulers::guidance::classifier_free).
    #[default]
    ClassifierFree,
    /// [CFG-Zero*](diffusion_schedulers::guidance::CfgZeroStar).
    ZeroStar {
        /// Number of steps at the start without movement: 1 in the reference.
        zero_steps: usize,
    },
    /// [Adaptive projected guidance](diffusion_schedulers::guidance::AdaptiveProjectedGuidance).
    AdaptiveProjected {
        /// Share that is kept of the guidance along the picture: 0 in the paper.
        along: f64,
        /// Longest guidance, if there is a limit.
        longest: Option<f64>,
        /// Share of the past guidance that is added: negative in the paper.
        momentum: f64,
    },
}

/// How the network is asked for the velocities under both prompts. The result is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuidanceEvaluation {
    /// Both as one batch, which is faster on most devices.
    #[default]
    Batched,
    /// One after the other, which takes half of the memory for activations.
    Sequential,
}

impl Guidance {
    /// Check the numbers.
    ///
    /// # Errors
    /// [`PipelineError::Setting`] naming the one that is out of range.
    pub(crate) fn check(&self) -> Result<(), PipelineError> {
        if !(0.0..=1.0).contains(&self.rescale) {
            return Err(PipelineError::setting("guidance rescale", "a share from 0 to 1", self.rescale));
        }
        if let Some(GuidanceInterval { above, up_to }) = self.interval
            && !(above >= 0.0 && above < up_to)
        {
            let expected = "two noise levels from 0 on, the lower one first";
            return Err(PipelineError::setting("guidance interval", expected, format!("{above},{up_to}")));
        }
        let GuidanceMethod::AdaptiveProjected { along, longest, momentum } = self.method else { return Ok(()) };
        if !along.is_finite() {
            return Err(PipelineError::setting("share of the guidance along the picture", "a finite number", along));
        }
        if let Some(longest) = longest.filter(|longest| !(longest.is_finite() && *longest > 0.0)) {
            return Err(PipelineError::setting("longest guidance", "a number above 0", longest));
        }
        if momentum.is_nan() || momentum.abs() >= 1.0 {
            return Err(PipelineError::setting("guidance momentum", "a number between -1 and 1", momentum));
        }
        Ok(())
    }
}
