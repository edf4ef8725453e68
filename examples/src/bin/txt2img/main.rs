//! Draw a picture from a prompt.

mod arguments;
mod guidance;
mod latents_file;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Tensor;
use clap::Parser;
use diffusion_core::image::RgbImage;
use diffusion_core::mask::Mask;
use diffusion_core::{Part, Residency, SamplerStep};
use diffusion_examples::device::available_memory;
use diffusion_examples::output::{check_writable, write_png};
use diffusion_examples::picture::{read_mask, read_picture};
use diffusion_examples::progress::Verbosity;
use diffusion_lora::SetLoras;
use diffusion_models::flux::Flux;
use diffusion_models::sd3::Sd3;
use diffusion_models::{Family, ModelKind, Pipeline, Plan, Prompt, Settings, StartingPicture, model_kind};

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    diffusion_examples::run(|| {
        let model = arguments.model.clone().map_or_else(miniature, Ok)?;
        match model_kind(&model)? {
            ModelKind::FluxTransformer => draw_all::<Flux>(&arguments, &model),
            // Any other kind is refused there, with what it is.
            _ => draw_all::<Sd3>(&arguments, &model),
        }
    })
}

fn draw_all<F: Family>(arguments: &Arguments, model: &Path) -> Result<(), Box<dyn Error>> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    if arguments.count == 0 {
        return Err("--count is 0; ask for at least one picture".into());
    }
    if arguments.latents.is_some() && arguments.count > 1 {
        return Err("--latents gives the noise of one picture, --count asks for more; leave one of them out".into());
    }
    let device = arguments.device.open()?;
    let precision = arguments.device.precision(arguments.precision, &device);
    let mut pipeline = Pipeline::<F>::open(model, &arguments.parts(), precision, &device)?;
    let settings = arguments.settings(&pipeline);
    pipeline.check(&settings)?;
    pipeline.residency = residency(arguments, &pipeline.plan(&settings), verbosity);
    if arguments.plan {
        println!("{}", pipeline.plan(&settings));
        return Ok(());
    }
    for index in 0..arguments.count {
        let outputs = [Some(&arguments.output), arguments.save_latents.as_ref()];
        outputs.into_iter().flatten().try_for_each(|path| check_writable(&numbered(path, index, arguments.count)))?;
    }
    let start = Start::read(arguments, &pipeline, &settings)?;
    verbosity.note(format_args!("{} in {:?}", arguments.device.describe(&device), precision.compute));
    announce::<F>(arguments, model, &settings, verbosity);
    set_loras(arguments, &mut pipeline, &settings, verbosity)?;

    let prompt = verbosity.stage("encoding the prompt", "encoded the prompt", || {
        pipeline.encode_prompt(&arguments.prompt, &arguments.negative_prompt, &settings)
    })?;
    // Frees T5's memory before the transformer takes its own.
    pipeline.free_text_encoders();
    for index in 0..arguments.count {
        draw_one(arguments, &mut pipeline, &prompt, &settings, &start, index, verbosity)?;
    }
    Ok(())
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

/// What a run starts from, read before any work is spent.
struct Start {
    /// Noise from a file, in place of the seed's.
    noise: Option<Tensor<4>>,
    /// The picture to start from, and its mask.
    picture: Option<(StartingPicture, RgbImage, Option<Mask>)>,
}

impl Start {
    fn read<F: Family>(arguments: &Arguments, pipeline: &Pipeline<F>, settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let noise = arguments.latents.as_deref();
        let noise = noise.map(|path| latents_file::read_noise(path, pipeline.latent_shape(settings), pipeline.device()));
        let Settings { width, height, .. } = *settings;
        let Some(path) = &arguments.image else { return Ok(Self { noise: noise.transpose()?, picture: None }) };
        let source = read_picture(path, width, height)?;
        let mask = arguments.mask.as_deref().map(|path| read_mask(path, width, height)).transpose()?;
        if let (Some(path), true) = (&arguments.mask, mask.as_ref().is_some_and(Mask::is_empty)) {
            eprintln!("warning: {} is black everywhere, so the picture stays as it is", path.display());
        }
        let start = pipeline.starting_picture(&source, mask.as_ref(), arguments.strength)?;
        let mask = mask.map(|mask| mask.feathered(arguments.mask_feather));
        let picture = Some((start, source, mask));
        Ok(Self { noise: noise.transpose()?, picture })
    }
}

fn draw_one<F: Family>(
    arguments: &Arguments,
    pipeline: &mut Pipeline<F>,
    prompt: &Prompt<F::Conditioning>,
    settings: &Settings,
    start: &Start,
    index: u64,
    verbosity: Verbosity,
) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let seed = arguments.seed.wrapping_add(index);
    let noise = start.noise.clone().unwrap_or_else(|| pipeline.noise(seed, settings));
    let mut kept: BTreeMap<String, Tensor<4>> = BTreeMap::new();
    let settings = &Settings { sampler_seed: seed, ..settings.clone() };
    let bar = verbosity.steps("drawing", settings.num_steps);
    let mut on_step = |step: SamplerStep| {
        bar.set_length(step.num_steps as u64);
        bar.set_position(step.index as u64 + 1);
        if arguments.save_all_latents {
            kept.insert(format!("latents_{}", step.index + 1), step.latents);
        }
        ControlFlow::Continue(())
    };
    let latents = match &start.picture {
        Some((picture, ..)) => pipeline.denoise_from(prompt, picture, noise, settings, &mut on_step),
        None => pipeline.denoise(prompt, noise, settings, &mut on_step),
    };
    bar.finish_and_clear();
    let latents = latents?;
    verbosity.note(format_args!("drew {} steps in {:.1} s", settings.num_steps, began.elapsed().as_secs_f64()));

    if let Some(path) = &arguments.save_latents {
        kept.insert("latents".to_owned(), latents.clone());
        latents_file::write_latents(&numbered(path, index, arguments.count), &kept)?;
    }
    let pictures =
        verbosity.stage("decoding the picture", "decoded the picture", || pipeline.decode(latents, settings.tiling))?;
    let output = numbered(&arguments.output, index, arguments.count);
    for picture in pictures {
        let picture = match &start.picture {
            Some((_, source, Some(mask))) => mask.paste(&picture, source),
            _ => picture,
        };
        write_png(&output, &picture, &parameters(arguments, settings, seed))?;
    }
    verbosity.note(format_args!("wrote {} (seed {seed}, {:.1} s)", output.display(), began.elapsed().as_secs_f64()));
    Ok(())
}

/// Prompt and settings in the form that AUTOMATIC1111's web interface introduced and other programs read.
fn parameters(arguments: &Arguments, settings: &Settings, seed: u64) -> String {
    let model =
        arguments.model.as_deref().and_then(Path::file_stem).map_or_else(|| "mini-sd3".into(), |stem| stem.to_string_lossy());
    let Settings { width, height, num_steps, guidance_scale, sampler, .. } = settings;
    let negative = match arguments.negative_prompt.as_str() {
        "" => String::new(),
        negative => format!("\nNegative prompt: {negative}"),
    };
    let skipped = match &settings.skip_layers {
        Some(guidance) => format!(", Skip layers: {:?}, SLG scale: {}", guidance.layers, guidance.scale),
        None => String::new(),
    };
    format!(
        "{}{}{negative}\nSteps: {num_steps}, Sampler: {sampler}, CFG scale: {guidance_scale}, Seed: {seed}, Size: {width}x{height}, Model: {model}{skipped}",
        arguments.prompt,
        arguments.loras.describe()
    )
}

/// The same path, with a number before the extension where there are several pictures.
fn numbered(path: &Path, index: u64, count: u64) -> PathBuf {
    if count == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", index + 1))
}

/// The miniature model of the repository: where this program was built, or below the current folder.
fn miniature() -> Result<PathBuf, String> {
    let places = [Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/mini-sd3"), PathBuf::from("assets/mini-sd3")];
    let found = places.iter().find(|place| place.join("model_index.json").exists());
    let found = found.ok_or("the miniature model is not here; run inside a clone of the repository, or give --model")?;
    Ok(found.canonicalize().unwrap_or_else(|_| found.clone()))
}
