//! All samplers on the miniature model: a figure of error against evaluations, and a contact sheet.
//!
//! ```sh
//! cargo run --release -p diffusion-benches --bin samplers -- docs
//! ```
//!
//! writes `samplers.svg` and `samplers.jpg` into the folder. It takes some minutes.

mod figure;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::{Device, Tensor};
use diffusion_app::embedded_model;
use diffusion_core::image::RgbImage;
use diffusion_models::{EncodedPrompt, Pipeline, PipelineOptions, Settings, Start, ignore};
use diffusion_schedulers::kind::{SamplerKind, ScheduleKind};
use figure::Curve;
use image::codecs::jpeg::JpegEncoder;

const PROMPT: &str = "a boat with a white sail on the sea with mountains at sunset, a sun in the sky";
const SEED: u64 = 1;
/// Steps of the curves.
const STEPS: [usize; 7] = [4, 6, 8, 12, 16, 24, 32];
/// Steps of what stands for the exact solution.
const EXACT_STEPS: usize = 256;
/// Steps and columns of the contact sheet.
const SHEET_STEPS: usize = 8;
const SHEET_COLUMNS: u32 = 4;

fn main() -> ExitCode {
    diffusion_app::cli::run(draw_all)
}

fn draw_all() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("give a folder for samplers.svg and samplers.jpg")?);
    let mut model = Model::open()?;
    let (flow, _) = model.draw(SamplerKind::Heun, EXACT_STEPS)?;
    let (mut curves, mut images) = (Vec::new(), Vec::new());
    for &sampler in SamplerKind::ALL {
        eprintln!("{sampler}");
        // Samplers that add noise follow a path of their own, through the same noise at any number of steps.
        let exact = if sampler.is_stochastic() { model.draw(sampler, EXACT_STEPS)?.0 } else { flow.clone() };
        let point = |steps| -> Result<(f64, f64), Box<dyn Error>> {
            let (latents, evaluations) = model.draw(sampler, steps)?;
            Ok((evaluations as f64, relative_error(latents, exact.clone())))
        };
        curves.push(Curve { sampler, points: STEPS.into_iter().map(point).collect::<Result<_, _>>()? });
        let (latents, _) = model.draw(sampler, SHEET_STEPS)?;
        images.extend(model.pipeline.decode(latents, model.settings.tiling, &mut ignore)?);
    }
    figure::write(&folder.join("samplers.svg"), &curves)?;
    write_sheet(&folder.join("samplers.jpg"), images)
}

/// The model, the prompt and the settings of all runs.
struct Model {
    pipeline: Pipeline,
    prompt: EncodedPrompt,
    settings: Settings,
}

impl Model {
    fn open() -> Result<Self, Box<dyn Error>> {
        let mut pipeline = Pipeline::open(&embedded_model()?, &PipelineOptions::new(&Device::default()))?;
        // With the released schedule the last step is too long for samplers that extrapolate.
        let schedule = Some(ScheduleKind::Simple);
        let settings = Settings { schedule, guidance_scale: 5.0, ..pipeline.default_settings() };
        let prompt = pipeline.encode_prompt(PROMPT, "", &settings, &mut ignore)?;
        pipeline.free_prompt_encoder();
        Ok(Self { pipeline, prompt, settings })
    }

    /// The latents of a run, and how often the network was evaluated for them.
    fn draw(&mut self, sampler: SamplerKind, num_steps: usize) -> Result<(Tensor<4>, usize), Box<dyn Error>> {
        let settings = Settings { sampler, num_steps, ..self.settings.clone() };
        let latents = self.pipeline.denoise(&self.prompt, &Start::from_seeds(&[SEED]), &settings, &mut ignore)?;
        Ok((latents, self.pipeline.step_cache_report().evaluations))
    }
}

/// Norm of the difference over the norm of what is exact.
fn relative_error(found: Tensor<4>, exact: Tensor<4>) -> f64 {
    let norm = |x: Tensor<4>| f64::from(x.square().sum().sqrt().into_scalar::<f32>());
    norm(found - exact.clone()) / norm(exact)
}

/// All images in rows.
fn write_sheet(path: &Path, images: Vec<RgbImage>) -> Result<(), Box<dyn Error>> {
    /// Percent of the finest quantization.
    const QUALITY: u8 = 90;
    let first = images.first().ok_or("there are no images")?;
    let (width, height) = (first.width as u32, first.height as u32);
    let rows = (images.len() as u32).div_ceil(SHEET_COLUMNS);
    let mut sheet = image::RgbImage::from_pixel(SHEET_COLUMNS * width, rows * height, image::Rgb([255; 3]));
    for (index, image) in (0..).zip(images) {
        let tile = image::RgbImage::from_raw(width, height, image.pixels).ok_or("an image has another size")?;
        let (column, row) = (index % SHEET_COLUMNS, index / SHEET_COLUMNS);
        image::imageops::replace(&mut sheet, &tile, i64::from(column * width), i64::from(row * height));
    }
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    Ok(sheet.write_with_encoder(JpegEncoder::new_with_quality(file, QUALITY))?)
}
