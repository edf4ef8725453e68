//! Images on the way.

use std::error::Error;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use diffusion_app::cli::Stage;
use diffusion_app::image_file::write_png;
use diffusion_app::output::check_writable;
use diffusion_core::image::RgbImage;
use diffusion_core::{LatentDecoder, Loading, Precision, checkpoint::Checkpoint};
use diffusion_models::autoencoder_tiny::{AutoencoderTinyConfig, AutoencoderTinyDecoder};
use diffusion_models::{LatentRgb, Pipeline};
use image::imageops::FilterType;

use crate::arguments::Arguments;
use crate::images::Images;

/// Shows and writes what the network believes in at every k-th step.
pub(crate) struct Previews<'a> {
    every: usize,
    on_terminal: bool,
    file: Option<&'a Path>,
    colors: Colors,
}

/// How latents become colours.
enum Colors {
    /// Sums of channels, enlarged by this factor.
    Linear(Box<LatentRgb>, usize),
    Tiny(Box<AutoencoderTinyDecoder>),
}

impl<'a> Previews<'a> {
    /// The previews that were asked for, if any.
    pub(crate) fn new(
        arguments: &'a Arguments,
        pipeline: &Pipeline,
        images: &Images<'_>,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let Arguments { preview, preview_file, preview_vae, .. } = arguments;
        if preview.is_none() && preview_file.is_none() {
            return Ok(None);
        }
        let on_terminal = preview.is_some() && cfg!(feature = "terminal") && stdout().is_terminal();
        if !on_terminal && preview_file.is_none() {
            if cfg!(not(feature = "terminal")) {
                return Err("this program was built without the feature terminal; add it, or use --preview-file".into());
            }
            eprintln!("warning: --preview shows nothing, because standard output is no terminal; --preview-file writes images");
        }
        if let Some(path) = preview_file {
            check_writable(&of_step(&images.path_of(path, 0), 1))?;
        }
        let colors = if let Some(path) = preview_vae {
            let (checkpoint, config) = (Checkpoint::open(path)?, AutoencoderTinyConfig::default());
            let loading = Loading::new(Precision::f32(), pipeline.device());
            Colors::Tiny(Box::new(AutoencoderTinyDecoder::load(checkpoint, &config, &loading)?))
        } else {
            let info = pipeline.info();
            let colors = info.latent_rgb.ok_or("the colours of this model's latents are not known; leave --preview out")?;
            Colors::Linear(Box::new(colors), info.geometry.downscale_factor)
        };
        Ok(Some(Self { every: preview.unwrap_or(1), on_terminal, file: preview_file.as_deref(), colors }))
    }

    /// Show and write the images of a batch after a step, counted from 1.
    ///
    /// # Shapes
    /// - denoised: `[batch, 16, height, width]`
    pub(crate) fn after(
        &self,
        step: usize,
        denoised: Tensor<4>,
        path_of: impl Fn(&Path, u64) -> PathBuf,
        stage: &Stage,
    ) -> Result<(), Box<dyn Error>> {
        if !step.is_multiple_of(self.every) {
            return Ok(());
        }
        for (row, image) in (0..).zip(self.images(denoised)?) {
            if let Some(path) = self.file {
                write_png(&of_step(&path_of(path, row), step), &image, &format!("preview after step {step}"))?;
            }
            if self.on_terminal {
                stage.suspend(|| show(image))?;
            }
        }
        Ok(())
    }

    fn images(&self, denoised: Tensor<4>) -> Result<Vec<RgbImage>, Box<dyn Error>> {
        match &self.colors {
            Colors::Tiny(decoder) => Ok(RgbImage::from_tensor(decoder.decode(denoised))),
            Colors::Linear(colors, factor) => {
                let enlarge = |image: RgbImage| {
                    let (width, height) = (factor * image.width, factor * image.height);
                    let small = as_image(image)?;
                    let pixels = image::imageops::resize(&small, width as u32, height as u32, FilterType::Triangle).into_raw();
                    Ok(RgbImage { width, height, pixels })
                };
                colors.images(denoised).into_iter().map(enlarge).collect()
            }
        }
    }
}

/// Show an image in the terminal, as well as it can.
#[cfg(feature = "terminal")]
fn show(image: RgbImage) -> Result<(), Box<dyn Error>> {
    /// Columns of an image.
    const COLUMNS: u32 = 48;
    let config = viuer::Config { absolute_offset: false, width: Some(COLUMNS), ..viuer::Config::default() };
    viuer::print(&image::DynamicImage::from(as_image(image)?), &config)?;
    Ok(())
}

#[cfg(not(feature = "terminal"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn show(_: RgbImage) -> Result<(), Box<dyn Error>> {
    Ok(())
}

fn as_image(image: RgbImage) -> Result<image::RgbImage, Box<dyn Error>> {
    let RgbImage { width, height, pixels } = image;
    image::RgbImage::from_raw(width as u32, height as u32, pixels).ok_or_else(|| "an image has the wrong size".into())
}

/// The same path, with the number of a step before the extension.
fn of_step(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or("png".as_ref()).to_string_lossy();
    path.with_file_name(format!("{stem}-step-{number}.{extension}"))
}
