//! How to draw.

use diffusion_core::Sigmas;
use diffusion_schedulers::guidance::SkipLayerGuidance;
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};

use crate::image_decoder::Tiling;

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
    /// Seed of the noise that some samplers add on the way.
    pub sampler_seed: u64,
    /// Noise levels in place of those that the model was released with.
    pub schedule: Option<ScheduleKind>,
    /// Shift of the noise levels in place of the model's.
    pub shift: Option<f64>,
    /// Exactly these noise levels, in place of a schedule and of the number of steps.
    pub sigmas: Option<Sigmas>,
    /// How strictly to follow the prompt: the scale of classifier-free guidance for Stable Diffusion 3, where 1 or less
    /// runs without; the distilled guidance for FLUX.1-dev.
    pub guidance_scale: f64,
    /// Scale of classifier-free guidance for FLUX.1, which is made to do without: 1 or less.
    pub true_cfg_scale: f64,
    /// Tokens that T5 sees.
    pub max_sequence_length: usize,
    /// Skip-layer guidance, on top of classifier-free guidance; Stable Diffusion 3 only.
    pub skip_layers: Option<SkipLayerGuidance>,
    /// Whether the picture is decoded whole or in tiles.
    pub tiling: Tiling,
}
