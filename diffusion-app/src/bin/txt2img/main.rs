//! Draw an image from a prompt.

mod arguments;
mod drawing;
mod guidance;
mod help;
mod images;
mod loras;
mod memory;
mod preview;
mod prompt_cache;
mod start;
mod terminal;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use diffusion_app::cli::{Sources, Verbosity, list_models, print, run_with_help, say};
use diffusion_app::devices::{Devices, NamedDevice};
use diffusion_app::memory::available_memory;
use diffusion_lora::SetLoras;
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{Denoiser, EncodedPrompt, Pipeline, PipelineOptions, Plan, Settings};

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
    let placement = arguments.placement();
    let devices = Devices::open(arguments.device, &placement)?;
    let drawing_on = devices.of(TRANSFORMER).name;
    let Sources { model, components, loras } = Sources::find(&arguments.given_sources(), drawing_on, verbosity)?;
    let options =
        PipelineOptions { components, captures_steps: arguments.captures_steps(), ..devices.options(arguments.precision) };
    let mut pipeline = Pipeline::open(model.path(), &options)?;
    Devices::check(&placement, &pipeline)?;
    devices.set_precision(arguments.precision, &mut pipeline);
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
    let settings = memory::with_guidance_that_fits(arguments, &devices, settings, images.largest_batch(), &pipeline, verbosity);
    let plan = pipeline.plan(&settings, images.largest_batch());
    memory::set_residency(arguments, &devices, &plan, &mut pipeline, verbosity);
    memory::set_tiles_at_once(&devices, &settings, &mut pipeline);
    if arguments.plan {
        return Ok(print(memory::shown(&devices, &plan, &pipeline))?);
    }
    images.check_room(&settings)?;
    if let Some(store) = arguments.prompt_cache.open(&devices)? {
        pipeline.set_prompt_store(store);
    }
    let start = StartFiles::read(arguments, &pipeline, &settings)?;
    let previews = Previews::new(arguments, &pipeline, &images)?;
    announce(arguments, &devices, &pipeline, &settings, verbosity);
    set_loras(arguments, &loras, &devices, &mut pipeline, &plan, verbosity)?;

    let start = start.encode(&devices, &pipeline, verbosity)?;
    let prompts = encode(&devices, &images, &mut pipeline, &settings, verbosity)?;
    // Frees T5's memory before the transformer takes its own.
    pipeline.free_prompt_encoder();
    let (pipeline, prompts, settings) = (&mut pipeline, &prompts[..], &settings);
    let (images, start, previews) = (&images, &start, previews.as_ref());
    let mut drawing = Drawing { images, devices: &devices, pipeline, prompts, settings, start, previews, verbosity };
    images.batches().try_for_each(|batch| drawing.draw(batch))?;
    if let Some(why) = drawing.pipeline.denoiser().and_then(Denoiser::why_not_captured) {
        say(format_args!("warning: --capture-steps has no effect: {why}"));
    }
    Ok(())
}

/// Encode the prompts, and say what encoders do not see of them.
fn encode(
    devices: &Devices,
    images: &Images<'_>,
    pipeline: &mut Pipeline,
    settings: &Settings,
    verbosity: Verbosity,
) -> Result<Vec<EncodedPrompt>, Box<dyn Error>> {
    let prompts = images.prompts();
    let mut stage = verbosity.stage("encoding the prompt", prompts.len()).naming(devices);
    let encoded =
        pipeline.encode_prompts(&prompts, &images.arguments.negative_prompt, settings, &mut |event| stage.show(&event))?;
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
    devices: &Devices,
    pipeline: &mut Pipeline,
    plan: &Plan,
    verbosity: Verbosity,
) -> Result<(), Box<dyn Error>> {
    if arguments.loras.lora.is_empty() {
        return Ok(());
    }
    let NamedDevice { name, device } = devices.of(TRANSFORMER);
    let fused = plan.component(TRANSFORMER).map_or(0, |transformer| transformer.weights);
    let (needed, available) = (plan.on(device).peak_resident + fused, available_memory(*name));
    let mode = arguments.loras.mode(pipeline.place_of(TRANSFORMER).residency, needed, available);
    for report in pipeline.set_loras(&arguments.loras.set(paths)?.with_mode(mode))? {
        verbosity.note(format_args!("{report}"));
        if !report.fits() {
            say(format_args!("warning: {} does not fit the model completely; what fits is used", report.path.display()));
        }
    }
    Ok(())
}

/// Say what is about to be drawn, where, and which options have no effect.
fn announce(arguments: &Arguments, devices: &Devices, pipeline: &Pipeline, settings: &Settings, verbosity: Verbosity) {
    for (device, components) in devices.of_model(pipeline) {
        // The denoising network's, where it is, which may round what others do not.
        let tells = if components.contains(&TRANSFORMER) { TRANSFORMER } else { components[0] };
        let precision = pipeline.place_of(tells).precision;
        let of = if devices.are_several() { format!("{}: ", memory::listed(&components)) } else { String::new() };
        verbosity.note(format_args!("{of}{device} in {precision}"));
    }
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
