//! What every image starts from.

use std::error::Error;

use burn::tensor::Tensor;
use diffusion_app::cli::{Verbosity, say};
use diffusion_app::devices::Devices;
use diffusion_app::image_file::{Stretched, read_image, read_mask};
use diffusion_app::latents_file::read_noise;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_models::{InitImage, InitLatents, Pipeline, Settings, Start};

use crate::arguments::Arguments;

/// Files that images start from, read before any work is spent.
pub(crate) struct StartFiles {
    /// Noise from a file, in place of the seed's.
    noise: Option<Tensor<4>>,
    /// The image to start from.
    image: Option<InitImage>,
}

impl StartFiles {
    pub(crate) fn read(arguments: &Arguments, pipeline: &Pipeline, settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let noise = arguments.latents.as_deref();
        let noise = noise.map(|path| read_noise(path, pipeline.latent_shape(settings), pipeline.device())).transpose()?;
        Ok(Self { noise, image: init_image(arguments, settings)? })
    }

    /// Encode the image.
    pub(crate) fn encode(
        self,
        devices: &Devices,
        pipeline: &Pipeline,
        verbosity: Verbosity,
    ) -> Result<ImageStart, Box<dyn Error>> {
        let Self { noise, image } = self;
        let Some(image) = image else { return Ok(ImageStart { noise, init: None }) };
        let mut stage = verbosity.stage("encoding the image", 1).naming(devices);
        let latents = pipeline.encode_init_image(&image, &mut |event| stage.show(&event))?;
        stage.finish("encoded the image");
        Ok(ImageStart { noise, init: Some((image, latents)) })
    }
}

/// What every image starts from.
pub(crate) struct ImageStart {
    noise: Option<Tensor<4>>,
    /// The image to start from, and its latents.
    init: Option<(InitImage, InitLatents)>,
}

impl ImageStart {
    /// The start of a batch with these seeds.
    pub(crate) fn of(&self, seeds: &[u64]) -> Start {
        let init = self.init.as_ref().map(|(_, latents)| latents.clone());
        Start { noise: self.noise.clone(), init, ..Start::from_seeds(seeds) }
    }

    /// A drawn image, with the one to start from where the mask keeps it.
    pub(crate) fn finish(&self, drawn: RgbImage) -> RgbImage {
        match &self.init {
            Some((image, _)) => image.finish(drawn),
            None => drawn,
        }
    }
}

/// The image to start from, with its mask.
fn init_image(arguments: &Arguments, settings: &Settings) -> Result<Option<InitImage>, Box<dyn Error>> {
    let Settings { width, height, .. } = *settings;
    let Some(path) = &arguments.image else { return Ok(None) };
    let (image, warning) = read_image(path, width, height)?;
    warn(warning);
    let mut init = InitImage { mask_feather: arguments.mask_feather, ..InitImage::new(image, arguments.strength) };
    if let Some(path) = &arguments.mask {
        let (mask, warning) = read_mask(path, width, height)?;
        warn(warning);
        if Mask::is_empty(&mask) {
            say(format_args!("warning: {} is black everywhere, so the image stays as it is", path.display()));
        }
        init.mask = Some(mask);
    }
    Ok(Some(init))
}

fn warn(stretched: Option<Stretched>) {
    if let Some(stretched) = stretched {
        say(format_args!("warning: {stretched}; --width and --height choose other sides"));
    }
}
