//! Drawing a job.

use std::sync::Arc;
use std::time::Instant;

use diffusion_app::memory::available_memory;
use diffusion_models::components::{TRANSFORMER, VAE};
use diffusion_models::{InitImage, Start};

use super::draw_error::DrawError;
use super::finish::finish;
use super::pipelines::{LoadedModel, Pipelines};
use super::progress::Reporter;
use crate::jobs::{LiveJob, Stage, WorkKey};
use crate::request::Drawing;
use crate::studio::Studio;

/// Draw all images of a job, each as if it were alone, and write each one as soon as it is finished.
pub(super) fn draw(studio: &Studio, pipelines: &mut Pipelines, job: &Arc<LiveJob>) -> Result<(), DrawError> {
    let drawing = &job.job.drawing;
    let began = Instant::now();
    let entry = studio
        .registry()
        .model(&drawing.model)
        .ok_or_else(|| DrawError::failed("model_not_found", format!("the model \"{}\" is no longer served", drawing.model)))?;
    let mut reporter = Reporter::new(studio, job, entry.info.latent_rgb.as_ref());
    reporter.begin(Stage::Load, 1);
    let loaded = pipelines.model(entry, &drawing.settings)?;
    let was_loaded = loaded.pipeline.denoiser().is_some();
    let switch = Instant::now();
    let switched = loaded.set_loras(studio, drawing).map_err(|problem| DrawError::failed("lora", problem))?;
    if switched && was_loaded {
        reporter.measured(&WorkKey::switch(&drawing.model), switch.elapsed().as_secs_f64());
    }
    let before = began.elapsed().as_secs_f64();
    draw_images(studio, loaded, job, &mut reporter)?;
    measure(&reporter, drawing, before, began.elapsed().as_secs_f64(), was_loaded);
    metrics::gauge!("studio_weights_bytes").set(pipelines.bytes() as f64);
    Ok(())
}

fn draw_images(studio: &Studio, loaded: &mut LoadedModel, job: &LiveJob, reporter: &mut Reporter<'_>) -> Result<(), DrawError> {
    let Drawing { prompt, negative_prompt, seeds, settings, .. } = &job.job.drawing;
    let settings = &loaded.with_guidance_that_fits(settings, available_memory(studio.config().device_of(TRANSFORMER)));
    let keeps_encoders = loaded.keeps_encoders;
    let pipeline = &mut loaded.pipeline;
    reporter.begin(Stage::Encode, 1);
    let encoded = pipeline.encode_prompt(prompt, negative_prompt, settings, &mut |event| reporter.take(event))?;
    if let Some((_, report)) = pipeline.prompt_store() {
        metrics::counter!("studio_prompts_encoded").increment(report.missed as u64);
        metrics::counter!("studio_prompts_read").increment(report.read as u64);
    }
    if !keeps_encoders {
        pipeline.free_prompt_encoder();
    }
    let truncated = std::mem::take(&mut reporter.truncated);
    job.change(|state| state.warnings.extend(truncated));
    let init = init_image(studio, &job.job.drawing)?;
    let latents = match &init {
        Some(init) => Some(pipeline.encode_init_image(init, &mut |event| reporter.take(event))?),
        None => None,
    };
    for (index, &seed) in seeds.iter().enumerate() {
        reporter.begin(Stage::Sample, index + 1);
        let start = Start { init: latents.clone(), ..Start::from_seeds(&[seed]) };
        let latents = pipeline.denoise(&encoded, &start, settings, &mut |event| reporter.take(event))?;
        reporter.begin(Stage::Decode, index + 1);
        if let Some(available) = available_memory(studio.config().device_of(VAE)) {
            // Weights that are loaded are not free any more: this asks for a little less than there is.
            pipeline.set_tiles_at_once(pipeline.tiles_that_fit(settings, available));
        }
        let images = pipeline.decode(latents, settings.tiling, &mut |event| reporter.take(event))?;
        let finished = images.into_iter().map(|image| match &init {
            Some(init) => init.finish(image),
            None => image,
        });
        for image in finished {
            let image = finish(studio, &job.job, &image, index)?;
            job.change(|state| state.images.push(image));
        }
    }
    Ok(())
}

fn init_image(studio: &Studio, drawing: &Drawing) -> Result<Option<InitImage>, DrawError> {
    let Some(input) = &drawing.init else { return Ok(None) };
    let read = studio.inputs().init_image(input, drawing.settings.width, drawing.settings.height);
    read.map(Some).map_err(|problem| DrawError::failed("image", problem))
}

/// Take in how long each kind of work took, for estimates.
fn measure(reporter: &Reporter<'_>, drawing: &Drawing, before: f64, all: f64, was_loaded: bool) {
    let (seconds, steps) = reporter.steps;
    if steps > 0 {
        reporter.measured(&WorkKey::step(drawing), seconds / steps as f64);
    }
    let rest = (all - before - reporter.loading - seconds).max(0.0) / drawing.seeds.len() as f64;
    reporter.measured(&WorkKey::rest(drawing), rest);
    if !was_loaded {
        reporter.measured(&WorkKey::load(&drawing.model), before + reporter.loading);
    }
}
