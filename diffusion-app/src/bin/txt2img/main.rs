//! Draw an image from a prompt.

mod arguments;
mod drawing;
mod guidance;
mod help;
mod images;
mod loras;
mod preview;
mod prompt_cache;
mod start;
mod terminal;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use diffusion_app::cli::{Sources, Verbosity, list_models, print, run_with_help, say};
use diffusion_app::memory::available_memory;
use diffusion_core::Residency;
use diffusion_lora::SetLoras;
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{EncodedPrompt, Pipeline, PipelineOptions, Plan, Settings};

use arguments::Arguments;
use drawing::Drawing;
use images::Images;
use preview::Previews;
use start::StartFiles;

fn main() -> ExitCode {
    let arguments = Arguments::of_command_line();
    run_with_help(|| draw_all(&arguments), help::help)
}

fn draw_all(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    if arguments.list_models {
        return Ok(print(list_models().trim_end())?);
    }
    let images = Images::new(arguments)?;
    if !arguments.plan {
        images.check_writable()?;
    }
    let device = arguments.device.open()?;
    let Sources { model, components, loras } = Sources::find(&arguments.given_sources(), arguments.device, verbosity)?;
    let precision = arguments.precision.on(arguments.device, &device);
    let options = PipelineOptions { components, precision, ..PipelineOptions::new(&device) };
    let mut pipeline = Pipeline::open(model.path(), &options)?;
    let precision = arguments.precision.for_model(arguments.device, &pipeline);
    pipeline.set_precision(precision);
    let settings = arguments.settings(pipeline.info())?;
    pipeline.check(&settings)?;
    pipeline.check_batch(images.largest_batch())?;
    if arguments.image.is_some() {
        pipeline.check_strength(arguments.strength, &settings)?;
    }
    for left_out in &pipeline.info().left_out {
        verbosity.note(format_args!("{left_out}"));
    }
    for warning in pipeline.warnings(&settings)? {
        say(format_args!("warning: {warning}"));
    }
    let plan = pipeline.plan(&settings, images.largest_batch());
    let residency = residency(arguments, &plan, verbosity);
    pipeline.set_residency(residency);
    if arguments.plan {
        print(&plan)?;
        return Ok(());
    }
    images.check_room(&settings)?;
    if let Some(store) = arguments.prompt_cache.open(arguments.device, &device)? {
        pipeline.set_prompt_store(store);
    }
    let start = StartFiles::read(arguments, &pipeline, &settings)?;
    let previews = Previews::new(arguments, &pipeline, &images)?;
    verbosity.note(format_args!("{} in {precision}", arguments.device.describe(&device)));
    announce(arguments, &pipeline, &settings, verbosity);
    set_loras(arguments, &loras, &mut pipeline, residency, &plan, verbosity)?;

    let start = start.encode(&pipeline, verbosity)?;
    let prompts = encode(arguments, &images, &mut pipeline, &settings, verbosity)?;
    // Frees T5's memory before the transformer takes its own.
    pipeline.free_prompt_encoder();
    let (pipeline, prompts, settings) = (&mut pipeline, &prompts[..], &settings);
    let (images, start, previews) = (&images, &start, previews.as_ref());
    let mut drawing = Drawing { images, pipeline, prompts, settings, start, previews, verbosity };
    images.batches().try_for_each(|batch| drawing.draw(batch))
}

/// Encode the prompts, and say what encoders do not see of them.
fn encode(
    arguments: &Arguments,
    images: &Images<'_>,
    pipeline: &mut Pipeline,
    settings: &Settings,
    verbosity: Verbosity,
) -> Result<Vec<EncodedPrompt>, Box<dyn Error>> {
    let prompts = images.prompts();
    let mut stage = verbosity.stage("encoding the prompt", prompts.len());
    let encoded = pipeline.encode_prompts(&prompts, &arguments.negative_prompt, settings, &mut |event| stage.show(&event))?;
    stage.finish(prompt_cache::done(pipeline));
    prompt_cache::warn_of_failures(pipeline);
    let truncated = encoded.iter().flat_map(|prompt| &prompt.truncated).map(ToString::to_string);
    for warning in truncated.collect::<BTreeSet<_>>() {
        say(format_args!("warning: {warning}"));
    }
    Ok(encoded)
}

/// Apply the LoRAs, and say what they are.
fn set_loras(
    arguments: &Arguments,
    paths: &[PathBuf],
    pipeline: &mut Pipeline,
    residency: Residency,
    plan: &Plan,
    verbosity: Verbosity,
) -> Result<(), Box<dyn Error>> {
    if arguments.loras.lora.is_empty() {
        return Ok(());
    }
    let fused = plan.component(TRANSFORMER).map_or(0, |transformer| transformer.weights);
    let (needed, available) = (plan.peak_resident + fused, available_memory(arguments.device));
    let mode = arguments.loras.mode(residency, needed, available);
    for report in pipeline.set_loras(&arguments.loras.set(paths)?.with_mode(mode))? {
        verbosity.note(format_args!("{report}"));
        if !report.fits() {
            say(format_args!("warning: {} does not fit the model completely; what fits is used", report.path.display()));
        }
    }
    Ok(())
}

/// Whether weights stay in memory: as asked, and otherwise if they fit. Says if even streamed ones do not.
fn residency(arguments: &Arguments, plan: &Plan, verbosity: Verbosity) -> Residency {
    let Some(available) = available_memory(arguments.device) else {
        return if arguments.stream_weights { Residency::Streamed } else { Residency::Resident };
    };
    let chosen = if arguments.stream_weights { Residency::Streamed } else { plan.residency(available) };
    if let Some(shortage) = plan.shortage(available) {
        say(format_args!("warning: {shortage}"));
    } else if chosen == Residency::Streamed && !arguments.stream_weights {
        let [needed, free] = [plan.peak_resident, available].map(|bytes| bytes as f64 / 1e9);
        verbosity
            .note(format_args!("streaming weights from their files: they take {needed:.1} GB, {free:.1} GB of memory are free"));
    }
    chosen
}

/// Say what is about to be drawn, and which options have no effect.
fn announce(arguments: &Arguments, pipeline: &Pipeline, settings: &Settings, verbosity: Verbosity) {
    let Settings { width, height, num_steps, guidance_scale, .. } = settings;
    let info = pipeline.info();
    let distilled = settings.distilled_guidance.map(|guidance| format!(", distilled guidance {guidance}"));
    verbosity.note(format_args!(
        "{}: {width} x {height} pixels, {num_steps} steps, guidance {guidance_scale}{}",
        info.path.display(),
        distilled.unwrap_or_default()
    ));
    for warning in arguments.without_effect(info.guidance, settings) {
        say(format_args!("warning: {warning}"));
    }
}
