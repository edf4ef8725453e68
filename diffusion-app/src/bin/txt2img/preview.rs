//! Pictures on the way.

use std::error::Error;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use diffusion_app::image_file::write_png;
use diffusion_app::output::check_writable;
use diffusion_core::image::RgbImage;
use diffusion_core::{LatentDecoder, Precision, checkpoint::Checkpoint};
use diffusion_models::autoencoder_tiny::{AutoencoderTinyConfig, AutoencoderTinyDecoder};
use diffusion_models::{Family, LatentRgb, Pipeline};
use image::imageops::FilterType;
use indicatif::ProgressBar;

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
    Linear(LatentRgb),
    Tiny(Box<AutoencoderTinyDecoder>),
}

impl<'a> Previews<'a> {
    /// The previews that were asked for, if any.
    pub(crate) fn new<F: Family>(
        arguments: &'a Arguments,
        pipeline: &Pipeline<F>,
        pictures: &Images<'_>,
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
            eprintln!("warning: --preview shows nothing, because standard output is no terminal; --preview-file writes pictures");
        }
        if let Some(path) = preview_file {
            check_writable(&of_step(&pictures.path_of(path, 0), 1))?;
        }
        let colors = match preview_vae {
            Some(path) => {
                let (checkpoint, config) = (Checkpoint::open(path)?, AutoencoderTinyConfig::default());
                let decoder = AutoencoderTinyDecoder::load(checkpoint, &config, Precision::f32(), pipeline.device())?;
                Colors::Tiny(Box::new(decoder))
            }
            None => Colors::Linear(pipeline.latent_rgb().ok_or(
                "there are no previews of this model's latents, which have other than 16 channels; leave --preview out",
            )?),
        };
        Ok(Some(Self { every: preview.unwrap_or(1), on_terminal, file: preview_file.as_deref(), colors }))
    }

    /// Show and write the pictures of a batch after a step, counted from 0.
    ///
    /// # Shapes
    /// - denoised: `[batch, 16, height, width]`
    pub(crate) fn after(
        &self,
        step: usize,
        denoised: Tensor<4>,
        path_of: impl Fn(&Path, usize) -> PathBuf,
        bar: &ProgressBar,
    ) -> Result<(), Box<dyn Error>> {
        if !(step + 1).is_multiple_of(self.every) {
            return Ok(());
        }
        for (row, picture) in self.pictures(denoised)?.into_iter().enumerate() {
            if let Some(path) = self.file {
                let parameters = format!("preview after step {}", step + 1);
                write_png(&of_step(&path_of(path, row), step + 1), &picture, &parameters)?;
            }
            if self.on_terminal {
                bar.suspend(|| show(picture))?;
            }
        }
        Ok(())
    }

    fn pictures(&self, denoised: Tensor<4>) -> Result<Vec<RgbImage>, Box<dyn Error>> {
        /// Pixels on the side of a latent cell.
        const CELL: usize = 8;
        match &self.colors {
            Colors::Tiny(decoder) => Ok(RgbImage::from_tensor(decoder.decode(denoised))),
            Colors::Linear(map) => {
                let enlarge = |cells: RgbImage| {
                    let (width, height) = (CELL * cells.width, CELL * cells.height);
                    let cells = as_image(cells)?;
                    let pixels = image::imageops::resize(&cells, width as u32, height as u32, FilterType::Triangle).into_raw();
                    Ok(RgbImage { width, height, pixels })
                };
                map.pictures(denoised).into_iter().map(enlarge).collect()
            }
        }
    }
}

/// Show a picture in the terminal, as well as it can.
#[cfg(feature = "terminal")]
fn show(picture: RgbImage) -> Result<(), Box<dyn Error>> {
    /// Columns of a picture.
    const COLUMNS: u32 = 48;
    let config = viuer::Config { absolute_offset: false, width: Some(COLUMNS), ..viuer::Config::default() };
    viuer::print(&image::DynamicImage::from(as_image(picture)?), &config)?;
    Ok(())
}

#[cfg(not(feature = "terminal"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn show(_: RgbImage) -> Result<(), Box<dyn Error>> {
    Ok(())
}

fn as_image(picture: RgbImage) -> Result<image::RgbImage, Box<dyn Error>> {
    let RgbImage { width, height, pixels } = picture;
    image::RgbImage::from_raw(width as u32, height as u32, pixels).ok_or_else(|| "a picture has the wrong size".into())
}

/// The same path, with the number of a step before the extension.
fn of_step(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or("png".as_ref()).to_string_lossy();
    path.with_file_name(format!("{stem}-step-{number}.{extension}"))
}
