//! Draw a picture from a prompt.

mod arguments;
mod latents_file;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Tensor;
use clap::Parser;
use diffusion_core::SamplerStep;
use diffusion_examples::output::{check_writable, write_png};
use diffusion_examples::progress::Verbosity;
use diffusion_models::sd3::{Sd3Pipeline, Sd3Prompt, Sd3Settings};

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    diffusion_examples::run(|| draw_all(&arguments))
}

fn draw_all(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    if arguments.count == 0 {
        return Err("--count is 0; ask for at least one picture".into());
    }
    if arguments.latents.is_some() && arguments.count > 1 {
        return Err("--latents gives the noise of one picture, --count asks for more; leave one of them out".into());
    }
    let device = arguments.device.open()?;
    let model = arguments.model.clone().map_or_else(miniature, Ok)?;
    let precision = arguments.device.precision(arguments.precision, &device);
    let mut pipeline = Sd3Pipeline::open(&model, &arguments.parts(), precision, &device)?;
    let settings = arguments.settings(&pipeline);
    pipeline.check(&settings)?;
    for index in 0..arguments.count {
        let outputs = [Some(&arguments.output), arguments.save_latents.as_ref()];
        outputs.into_iter().flatten().try_for_each(|path| check_writable(&numbered(path, index, arguments.count)))?;
    }
    verbosity.note(format_args!("{} in {:?}", arguments.device.describe(&device), precision.compute));
    announce(arguments, &model, &settings, verbosity);

    let prompt = verbosity.stage("encoding the prompt", "encoded the prompt", || {
        pipeline.encode_prompt(&arguments.prompt, &arguments.negative_prompt, &settings)
    })?;
    // Frees T5's memory before the transformer takes its own.
    pipeline.free_text_encoders();
    for index in 0..arguments.count {
        draw_one(arguments, &mut pipeline, &prompt, &settings, index, verbosity)?;
    }
    Ok(())
}

/// Say what is about to be drawn, and which options have no effect.
fn announce(arguments: &Arguments, model: &Path, settings: &Sd3Settings, verbosity: Verbosity) {
    let Sd3Settings { width, height, num_steps, guidance_scale, .. } = settings;
    let model = model.display();
    verbosity.note(format_args!("{model}: {width} x {height} pixels, {num_steps} steps, guidance {guidance_scale}"));
    if *guidance_scale <= 1.0 {
        let unused =
            [("--negative-prompt", !arguments.negative_prompt.is_empty()), ("--skip-layers", settings.skip_layers.is_some())];
        for (option, _) in unused.into_iter().filter(|(_, given)| *given) {
            eprintln!("warning: {option} has no effect without guidance; give --guidance-scale above 1");
        }
    }
}

fn draw_one(
    arguments: &Arguments,
    pipeline: &mut Sd3Pipeline,
    prompt: &Sd3Prompt,
    settings: &Sd3Settings,
    index: u64,
    verbosity: Verbosity,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let seed = arguments.seed.wrapping_add(index);
    let noise = match &arguments.latents {
        Some(path) => latents_file::read_noise(path, pipeline.latent_shape(settings), &prompt.positive.text.device())?,
        None => pipeline.noise(seed, settings),
    };
    let mut kept: BTreeMap<String, Tensor<4>> = BTreeMap::new();
    let bar = verbosity.steps("drawing", settings.num_steps);
    let latents = pipeline.denoise(prompt, noise, settings, &mut |step: SamplerStep| {
        bar.set_position(step.index as u64 + 1);
        if arguments.save_all_latents {
            kept.insert(format!("latents_{}", step.index + 1), step.latents);
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let latents = latents?;
    verbosity.note(format_args!("drew {} steps in {:.1} s", settings.num_steps, start.elapsed().as_secs_f64()));

    if let Some(path) = &arguments.save_latents {
        kept.insert("latents".to_owned(), latents.clone());
        latents_file::write_latents(&numbered(path, index, arguments.count), &kept)?;
    }
    let pictures =
        verbosity.stage("decoding the picture", "decoded the picture", || pipeline.decode(latents, settings.tiling))?;
    let output = numbered(&arguments.output, index, arguments.count);
    for picture in &pictures {
        write_png(&output, picture, &parameters(arguments, settings, seed))?;
    }
    verbosity.note(format_args!("wrote {} (seed {seed}, {:.1} s)", output.display(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// Prompt and settings in the form that AUTOMATIC1111's web interface introduced and other programs read.
fn parameters(arguments: &Arguments, settings: &Sd3Settings, seed: u64) -> String {
    let mut text = arguments.prompt.clone();
    if !arguments.negative_prompt.is_empty() {
        text += &format!("\nNegative prompt: {}", arguments.negative_prompt);
    }
    let model =
        arguments.model.as_deref().and_then(Path::file_stem).map_or_else(|| "mini-sd3".into(), |stem| stem.to_string_lossy());
    let Sd3Settings { width, height, num_steps, guidance_scale, .. } = settings;
    text += &format!(
        "\nSteps: {num_steps}, Sampler: Euler, CFG scale: {guidance_scale}, Seed: {seed}, Size: {width}x{height}, Model: {model}"
    );
    if let Some(guidance) = &settings.skip_layers {
        text += &format!(", Skip layers: {:?}, SLG scale: {}", guidance.layers, guidance.scale);
    }
    text
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
