//! How to draw.

use diffusion_core::Sigmas;
use diffusion_schedulers::guidance::{Guidance, SkipLayerGuidance};
use diffusion_schedulers::kind::{NoiseShift, SamplerKind, ScheduleKind};
use diffusion_schedulers::step_cache::StepCache;

/// How to draw. [`Pipeline::default_settings`](crate::Pipeline::default_settings) gives what a model's authors recommend.
///
/// ```
/// use diffusion_models::Settings;
/// use diffusion_schedulers::kind::SamplerKind;
///
/// let settings = Settings { num_steps: 12, sampler: SamplerKind::DpmPp2M, ..Settings::default() };
/// assert_eq!((settings.width, settings.guidance_scale), (1024, 1.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Settings {
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Number of steps.
    pub num_steps: usize,
    /// How to get from one noise level to the next.
    pub sampler: SamplerKind,
    /// Noise levels in place of those that the model was released with.
    pub schedule: Option<ScheduleKind>,
    /// Shift of the noise levels in place of the model's.
    pub shift: Option<NoiseShift>,
    /// Noise level of the last step, above 0 and below 1, that the others are stretched to; custom `sigmas` are not.
    pub shift_terminal: Option<f64>,
    /// Exactly these noise levels, in place of a schedule and of the number of steps.
    pub sigmas: Option<Sigmas>,
    /// Scale of classifier-free guidance: how strictly to follow the prompt. 1 or less runs without, in half of the time.
    pub guidance_scale: f64,
    /// Guidance as an input of the network, for models that were distilled to take it, such as FLUX.1-dev.
    pub distilled_guidance: Option<f64>,
    /// How conditional and unconditional velocity become one, where there is classifier-free guidance.
    pub guidance: Guidance,
    /// Tokens that T5 sees.
    pub max_sequence_length: usize,
    /// Skip-layer guidance, on top of classifier-free guidance, for models that allow it.
    pub skip_layers: Option<SkipLayerGuidance>,
    /// Whether work of earlier steps is used again, at the price of exactness.
    pub step_cache: StepCache,
    /// Whether the image is decoded whole or in tiles.
    pub tiling: Tiling,
}

impl Default for Settings {
    /// One megapixel in 28 steps of Euler's method, without guidance, along the model's own noise levels.
    fn default() -> Self {
        Self {
            width: 1024,
            height: 1024,
            num_steps: 28,
            sampler: SamplerKind::Euler,
            schedule: None,
            shift: None,
            shift_terminal: None,
            sigmas: None,
            guidance_scale: 1.0,
            distilled_guidance: None,
            guidance: Guidance::default(),
            max_sequence_length: 256,
            skip_layers: None,
            step_cache: StepCache::Off,
            tiling: Tiling::Whole,
        }
    }
}

impl Settings {
    /// Whether the negative prompt counts.
    pub fn is_guided(&self) -> bool {
        self.guidance_scale > 1.0
    }
}

/// Whether latents are decoded whole or in overlapping tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Tiling {
    /// Whole.
    #[default]
    Whole,
    /// In overlapping tiles, which takes less memory; the norms see a tile each, so images differ a little.
    Tiled,
}
