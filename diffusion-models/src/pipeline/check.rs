//! What settings may be, and what is asked of them before any work is spent.

use diffusion_schedulers::InitLatents;
use diffusion_schedulers::guidance::GuidanceMethod;

use super::Pipeline;
use crate::error::PipelineError;
use crate::request::InitImage;
use crate::settings::Settings;

/// More steps than anybody needs.
const MAX_STEPS: usize = 100_000;
/// Longer sides than memory holds images of.
const MAX_SIDE: usize = 16_384;
/// A stronger guidance than any network bears.
const MAX_GUIDANCE: f64 = 1000.0;

impl Pipeline {
    /// Most images that are drawn at once.
    pub const MAX_BATCH: usize = 1024;

    /// Check settings before any work is spent on them.
    ///
    /// # Errors
    /// [`PipelineError`] naming the setting, what it may be and what it is.
    pub fn check(&self, settings: &Settings) -> Result<(), PipelineError> {
        self.check_size(settings.width, settings.height)?;
        let info = self.info();
        let scales = [("guidance scale", Some(settings.guidance_scale)), ("distilled guidance", settings.distilled_guidance)];
        for (setting, value) in scales {
            if let Some(value) = value.filter(|value| !(-MAX_GUIDANCE..=MAX_GUIDANCE).contains(value)) {
                let expected = format!("a number from -{MAX_GUIDANCE} to {MAX_GUIDANCE}");
                return Err(PipelineError::setting(setting, expected, value));
            }
        }
        if let (Some(guidance), None) = (settings.distilled_guidance, info.defaults.distilled_guidance) {
            return Err(PipelineError::setting("distilled guidance", "none: the network does not take it", guidance));
        }
        self.check_sequence_length(settings)?;
        if let Some(skip) = &settings.skip_layers {
            let Some(num_blocks) = info.skippable_blocks else {
                let expected = format!("none: {} has no skip-layer guidance", info.family);
                return Err(PipelineError::setting("layers to skip", expected, format!("{:?}", skip.layers)));
            };
            if let Some(layer) = skip.layers.iter().find(|&&layer| layer >= num_blocks) {
                let expected = format!("below {num_blocks}, the number of layers");
                return Err(PipelineError::setting("layer to skip", expected, layer));
            }
            skip.check()?;
        }
        settings.guidance.check()?;
        settings.step_cache.check()?;
        self.sampler(&[0], settings)?;
        let num_steps = self.sigmas(settings)?.num_steps();
        match settings.guidance.method {
            GuidanceMethod::ZeroStar { zero_steps } if zero_steps > num_steps => {
                let expected = format!("at most {num_steps}, the number of steps");
                Err(PipelineError::setting("number of zero steps", expected, zero_steps))
            }
            _ => Ok(()),
        }
    }

    /// Check an image to start from, with its mask, for a run with these settings, before any work is spent on it.
    ///
    /// # Errors
    /// [`PipelineError`] naming what is out of range: the size of the image or its mask, the strength.
    pub fn check_init_image(&self, init: &InitImage, settings: &Settings) -> Result<(), PipelineError> {
        let InitImage { image, mask, strength, .. } = init;
        let size = (image.width, image.height);
        if size != (settings.width, settings.height) {
            let expected = format!("{} x {} pixels, as the image that is drawn", settings.width, settings.height);
            return Err(PipelineError::setting("init image", expected, format!("{} x {} pixels", size.0, size.1)));
        }
        if let Some(mask) = mask.as_ref().filter(|mask| (mask.width, mask.height) != size) {
            return Err(PipelineError::MaskSize { found: (mask.width, mask.height), expected: size });
        }
        self.check_strength(*strength, settings)
    }

    /// Check how far to go from an image, for a run with these settings.
    ///
    /// # Errors
    /// [`PipelineError::Setting`] if it is not above 0 and at most 1, or leaves no step.
    pub fn check_strength(&self, strength: f64, settings: &Settings) -> Result<(), PipelineError> {
        Ok(InitLatents::remaining_of(&self.sigmas(settings)?, strength).map(drop)?)
    }

    /// Check a number of images to draw at once.
    ///
    /// # Errors
    /// [`PipelineError::Setting`] unless it is from 1 to [`MAX_BATCH`](Self::MAX_BATCH).
    pub fn check_batch(&self, images: usize) -> Result<(), PipelineError> {
        match images {
            0 => Err(PipelineError::setting("number of seeds", "at least 1", 0)),
            _ if images > Self::MAX_BATCH => {
                let expected = format!("at most {}", Self::MAX_BATCH);
                Err(PipelineError::setting("number of images at once", expected, images))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_sequence_length(&self, settings: &Settings) -> Result<(), PipelineError> {
        let (length, most) = (settings.max_sequence_length, self.info().max_sequence_length);
        if (1..=most).contains(&length) {
            return Ok(());
        }
        let expected = format!("1 to {most}, the tokens that the text encoder of this model was made for");
        Err(PipelineError::setting("maximum sequence length", expected, length))
    }

    pub(super) fn check_size(&self, width: usize, height: usize) -> Result<(), PipelineError> {
        let geometry = self.info().geometry;
        let step = geometry.side_step();
        if width == 0 || height == 0 || !width.is_multiple_of(step) || !height.is_multiple_of(step) {
            let reason = format!("both sides must be multiples of {step}, above 0");
            return Err(PipelineError::Size { width, height, reason });
        }
        match geometry.max_side {
            Some(largest) if width > largest || height > largest => {
                let reason = format!("the model's position table ends at {largest} pixels a side");
                Err(PipelineError::Size { width, height, reason })
            }
            _ if width.max(height) > MAX_SIDE => {
                let reason = format!("no side may be longer than {MAX_SIDE} pixels");
                Err(PipelineError::Size { width, height, reason })
            }
            _ => Ok(()),
        }
    }

    /// Refuse more steps than anybody needs.
    pub(super) fn require_steps(num_steps: usize) -> Result<(), PipelineError> {
        if num_steps <= MAX_STEPS {
            return Ok(());
        }
        Err(PipelineError::setting("number of steps", format!("at most {MAX_STEPS}"), num_steps))
    }
}
