//! What to draw.

use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;

use crate::settings::Settings;

/// What to draw, and how.
///
/// ```
/// use diffusion_models::Request;
///
/// let request = Request { seeds: vec![1, 2], ..Request::new("a fox in the snow") };
/// assert_eq!(request.settings.width, 1024);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the images shall show.
    pub prompt: String,
    /// What they shall not show; read where there is classifier-free guidance.
    pub negative_prompt: String,
    /// Seeds of the noise, of the start and of the samplers that add some: one for each image, all drawn at once. At most
    /// [`MAX_BATCH`](crate::Pipeline::MAX_BATCH).
    pub seeds: Vec<u64>,
    /// An image to start from.
    pub init: Option<InitImage>,
    /// How to draw. [`Pipeline::default_settings`](crate::Pipeline::default_settings) gives what a model's authors recommend.
    pub settings: Settings,
}

impl Request {
    /// One image of a prompt, with seed 0 and the general settings.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), seeds: vec![0], ..Self::default() }
    }
}

/// An image to start from, whole or in part.
#[derive(Clone, Debug, PartialEq)]
pub struct InitImage {
    /// The image, of the size that is drawn.
    pub image: RgbImage,
    /// The inpaint mask, of the same size: white to regenerate, black to preserve; all white if not given.
    pub mask: Option<Mask>,
    /// Pixels over which the edge of the mask rises, inwards, where the generated image is put into this one.
    pub mask_feather: usize,
    /// How far to go from the image, above 0 and at most 1: the share of the steps that are run.
    pub strength: f64,
}

impl InitImage {
    /// The whole image.
    pub fn new(image: RgbImage, strength: f64) -> Self {
        Self { image, mask: None, mask_feather: 0, strength }
    }

    /// A generated image with this one where the mask preserves it, to the bit.
    pub fn finish(&self, generated: RgbImage) -> RgbImage {
        match &self.mask {
            Some(mask) => mask.feathered(self.mask_feather).paste(&generated, &self.image),
            None => generated,
        }
    }
}
