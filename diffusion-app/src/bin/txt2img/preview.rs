//! Images on the way.

use std::cell::Cell;
use std::error::Error;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use diffusion_app::cli::{Stage, say};
use diffusion_app::image_file::{OutputFormat, write_image};
use diffusion_app::output::{OutputKind, check_writable, output_kind, with_suffix};
use diffusion_core::image::RgbImage;
use diffusion_core::{LatentDecoder, Loading, Precision, checkpoint::Checkpoint};
use diffusion_models::autoencoder_tiny::{AutoencoderTinyConfig, AutoencoderTinyDecoder};
use diffusion_models::{LatentRgb, Pipeline};
use image::imageops::FilterType;

use crate::arguments::Arguments;
use crate::images::Images;
use crate::terminal::{Terminal, show};

/// Shows and writes what the network believes in at every k-th step.
pub(crate) struct Previews<'a> {
    every: usize,
    terminal: Option<Terminal>,
    file: Option<&'a Path>,
    colors: Colors,
    /// Whether previews failed once, and are left out since.
    failed: Cell<bool>,
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
        if preview.is_some() && cfg!(not(feature = "terminal")) && preview_file.is_none() {
            return Err("this program was built without the feature terminal; add it, or use --preview-file".into());
        }
        let terminal = preview.is_some().then(Terminal::find).transpose().unwrap_or_else(|reason| {
            if preview_file.is_none() {
                say(format_args!("warning: --preview shows nothing, because {reason}; --preview-file writes images"));
            }
            None
        });
        if let Some(path) = preview_file {
            OutputFormat::of(path)?;
            check_writable(&of_step(&images.path_of(path, 0), 1))?;
        }
        let colors = if let Some(path) = preview_vae {
            let (checkpoint, config) = (Checkpoint::open(path)?, AutoencoderTinyConfig::default());
            let loading = Loading::new(Precision::f32(), pipeline.device());
            Colors::Tiny(Box::new(AutoencoderTinyDecoder::load(checkpoint, &config, &loading)?))
        } else {
            let info = pipeline.info();
            #[cfg(feature = "embedded-model")]
            let known = if arguments.model.is_none() { Some(diffusion_app::embedded_model::LATENT_RGB) } else { info.latent_rgb };
            #[cfg(not(feature = "embedded-model"))]
            let known = info.latent_rgb;
            let colors = known.ok_or("the colours of this model's latents are not known; leave --preview out")?;
            Colors::Linear(Box::new(colors), info.geometry.downscale_factor)
        };
        let (every, file) = (preview.unwrap_or(1), preview_file.as_deref());
        Ok(Some(Self { every, terminal, file, colors, failed: Cell::new(false) }))
    }

    /// Show and write the images of a batch after a step, counted from 1. If that fails, the image goes on without previews.
    ///
    /// # Shapes
    /// - denoised: `[batch, 16, height, width]`
    pub(crate) fn after(&self, step: usize, denoised: Tensor<4>, path_of: impl Fn(&Path, u64) -> PathBuf, stage: &Stage) {
        if self.failed.get() || !step.is_multiple_of(self.every) {
            return;
        }
        if let Err(error) = self.show(step, denoised, path_of, stage) {
            self.failed.set(true);
            let because = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
            stage.suspend(|| say(format_args!("warning: there are no more previews: {error}{because}")));
        }
    }

    fn show(
        &self,
        step: usize,
        denoised: Tensor<4>,
        path_of: impl Fn(&Path, u64) -> PathBuf,
        stage: &Stage,
    ) -> Result<(), Box<dyn Error>> {
        for (row, image) in (0..).zip(self.images(denoised)?) {
            if let Some(path) = self.file {
                write_image(&of_step(&path_of(path, row), step), &image, &format!("preview after step {step}"))?;
            }
            if let Some(terminal) = &self.terminal {
                stage.suspend(|| show(&as_image(image)?.into(), terminal))?;
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

fn as_image(image: RgbImage) -> Result<image::RgbImage, Box<dyn Error>> {
    let RgbImage { width, height, pixels } = image;
    image::RgbImage::from_raw(width as u32, height as u32, pixels).ok_or_else(|| "an image has the wrong size".into())
}

/// The same path, with the number of a step before the extension. What is no file keeps its name.
fn of_step(path: &Path, number: usize) -> PathBuf {
    match output_kind(path) {
        Ok(OutputKind::Stream | OutputKind::Pipe) => path.to_owned(),
        _ => with_suffix(path, &format!("-step-{number}")),
    }
}
