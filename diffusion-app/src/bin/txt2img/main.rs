//! Draw a picture from a prompt.

mod arguments;
mod drawing;
mod guidance;
mod images;
mod latents_file;
mod loras;
mod model;
mod preview;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use burn::tensor::Device;
use clap::Parser;
use diffusion_app::cli::Verbosity;
use diffusion_app::device::{DeviceError, DeviceName};
use diffusion_app::memory::available_memory;
use diffusion_core::{Part, Residency};
use diffusion_lora::SetLoras;
use diffusion_models::flux::Flux;
use diffusion_models::sd3::Sd3;
use diffusion_models::{Family, ModelKind, Pipeline, Plan, Settings, model_kind};

use arguments::Arguments;
use drawing::{Drawing, Start};
use images::Images;
use model::Model;
use preview::Previews;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    diffusion_app::cli::run(|| {
        let model = Model::open(arguments.model.as_deref())?;
        match model_kind(model.path())? {
            ModelKind::FluxTransformer => draw_all::<Flux>(&arguments, model.path()),
            // Any other kind is refused there, with what it is.
            _ => draw_all::<Sd3>(&arguments, model.path()),
        }
    })
}

fn draw_all<F: Family>(arguments: &Arguments, model: &Path) -> Result<(), Box<dyn Error>> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let pictures = Images::new(arguments)?;
    let device = open_device(arguments.device)?;
    let precision = arguments.precision.on(arguments.device, &device);
    let mut pipeline = Pipeline::<F>::open(model, &arguments.parts(), precision, &device)?;
    // The first batch is the largest, whose memory is planned.
    let sampler_seeds = pictures.batches().next().map_or_else(Vec::new, |batch| pictures.seeds_of(batch));
    let settings = Settings { sampler_seeds, ..arguments.settings(&pipeline) };
    pipeline.check(&settings)?;
    for warning in pipeline.warnings(&settings)? {
        eprintln!("warning: {warning}");
    }
    pipeline.residency = residency(arguments, &pipeline.plan(&settings), verbosity);
    if arguments.plan {
        println!("{}", pipeline.plan(&settings));
        return Ok(());
    }
    pictures.check_writable()?;
    let start = Start::read(arguments, &pipeline, &settings)?;
    let previews = Previews::new(arguments, &pipeline, &pictures)?;
    verbosity.note(format_args!("{} in {:?}", arguments.device.describe(&device), precision.compute));
    announce::<F>(arguments, model, &settings, verbosity);
    set_loras(arguments, &mut pipeline, &settings, verbosity)?;

    let prompts = verbosity.stage("encoding the prompt", "encoded the prompt", || {
        pipeline.encode_prompts(&pictures.prompts(), &arguments.negative_prompt, &settings)
    })?;
    // Frees T5's memory before the transformer takes its own.
    pipeline.free_text_encoders();
    let (pipeline, prompts, settings) = (&mut pipeline, &prompts[..], &settings);
    let (pictures, start, previews) = (&pictures, &start, previews.as_ref());
    let mut drawing = Drawing { pictures, pipeline, prompts, settings, start, previews, verbosity };
    pictures.batches().try_for_each(|batch| drawing.draw(batch))
}

/// Apply the LoRAs, and say what they are.
fn set_loras<F: Family>(
    arguments: &Arguments,
    pipeline: &mut Pipeline<F>,
    settings: &Settings,
    verbosity: Verbosity,
) -> Result<(), Box<dyn Error>> {
    if arguments.loras.lora.is_empty() {
        return Ok(());
    }
    let plan = pipeline.plan(settings);
    let transformer = plan.parts.iter().find(|part| part.name == Part::Transformer.to_string());
    let merged = transformer.map_or(0, |part| part.weights);
    let (needed, available) = (plan.peak_resident + merged, available_memory(arguments.device));
    let application = arguments.loras.application(pipeline.residency, needed, available);
    for report in pipeline.set_loras(&arguments.loras.set()?.applied(application))? {
        verbosity.note(format_args!("{report}"));
        if !report.fits() {
            eprintln!("warning: {} does not fit the model completely; what fits is used", report.path.display());
        }
    }
    Ok(())
}

/// Whether weights stay in memory: as asked, and otherwise if they fit.
fn residency(arguments: &Arguments, plan: &Plan, verbosity: Verbosity) -> Residency {
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    if arguments.stream_weights {
        return Residency::Streamed;
    }
    let available = available_memory(arguments.device);
    let chosen = available.map_or(Residency::Resident, |available| plan.residency(available));
    if let (Residency::Streamed, Some(available)) = (chosen, available) {
        let (needed, available) = (gigabytes(plan.peak_resident), gigabytes(available));
        verbosity.note(format_args!(
            "streaming weights from their files: they take {needed:.1} GB, {available:.1} GB of memory are free"
        ));
    }
    chosen
}

/// Say what is about to be drawn, and which options have no effect.
fn announce<F: Family>(arguments: &Arguments, model: &Path, settings: &Settings, verbosity: Verbosity) {
    let Settings { width, height, num_steps, guidance_scale, .. } = settings;
    let model = model.display();
    verbosity.note(format_args!("{model}: {width} x {height} pixels, {num_steps} steps, guidance {guidance_scale}"));
    if !F::uses_negative_prompt(settings) {
        let negative = (!arguments.negative_prompt.is_empty()).then_some("--negative-prompt");
        for option in negative.into_iter().chain(arguments.guidance.without_effect()) {
            eprintln!(
                "warning: {option} has no effect without classifier-free guidance (--guidance-scale, for FLUX.1 --true-cfg-scale, above 1)"
            );
        }
    }
}

/// The device, or how to build a program that has it.
fn open_device(name: DeviceName) -> Result<Device, Box<dyn Error>> {
    name.open().map_err(|error| match error {
        DeviceError::NotBuiltIn { feature, .. } => {
            format!("{error}; build it with `cargo build --release -p diffusion-app --features {feature}`").into()
        }
        error => error.into(),
    })
}
