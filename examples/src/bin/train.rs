//! Teach the embedded miniature what a prompt shall mean, and draw it before and after, without a file between: `output-1.png` and
//! `output-2.png`. Without a folder of pictures it learns from one of its own: stripes, red and orange.
//!
//! ```sh
//! cargo run --release -p diffusion-examples --bin train -- "a red house in the snow" pictures/
//! ```

use std::{error::Error, ops::ControlFlow, path::PathBuf, process::ExitCode};

use burn::tensor::Device;
use clap::Parser;
use diffusion_app::training::{CaptionSource, DataSettings, NoiseLevels, PictureFolder, TrainingCache};
use diffusion_app::{embedded_model, image_file::write_png};
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchWeights};
use diffusion_lora::train::{Method, Targets, TimestepDensity, TrainedAdapter, Trainer, TrainerSettings, TrainingRandom};
use diffusion_models::{Pipeline, PipelineOptions, Request, Settings, components::TRANSFORMER, ignore};

/// Teach the miniature what a prompt shall mean.
#[derive(Parser)]
struct Arguments {
    /// What the pictures show.
    prompt: String,
    /// Pictures to learn from.
    pictures: Option<PathBuf>,
    /// Pixels on a side.
    #[arg(long, default_value_t = 128)]
    side: usize,
}

fn main() -> ExitCode {
    diffusion_app::cli::run(|| train(Arguments::parse()))
}

fn train(Arguments { prompt, pictures, side }: Arguments) -> Result<(), Box<dyn Error>> {
    let mut pipeline = Pipeline::open(&embedded_model()?, &PipelineOptions::new(&Device::default()))?;
    let settings = Settings { width: side, height: side, ..pipeline.default_settings() };
    let request = Request { settings, ..Request::new(&prompt) };
    write_png("output-1.png".as_ref(), &pipeline.generate(&request, &mut ignore)?[0], &prompt)?;
    let folder = tempfile::tempdir()?;
    let stripes = image::RgbImage::from_fn(128, 128, |x, y| image::Rgb([255, ((x + y) / 16 % 2 * 150) as u8, 0]));
    stripes.save(folder.path().join("stripes.png"))?;
    let mut pictures = PictureFolder::new(pictures.as_deref().unwrap_or(folder.path()));
    pictures.captions = CaptionSource::Prompt(prompt.clone());
    let data = DataSettings { resolutions: vec![side], ..DataSettings::new(pictures, pipeline.info()) };
    let cache = TrainingCache::open(&folder.path().join("cache"), "this process")?;
    let levels = NoiseLevels::new(|random, _| TimestepDensity::default().draw(random));
    let go_on = &mut |_| ControlFlow::Continue(());
    let mut batches = data.read(pipeline.info(), go_on)?.encode(&mut pipeline, &cache, levels, go_on)?;
    let (targets, device, mut random) = (pipeline.patch_targets(), pipeline.device(), TrainingRandom::new(1, 0, 0));
    let network = targets.iter().find(|target| target.component == TRANSFORMER).ok_or("no transformer")?;
    let adapter = |layer| TrainedAdapter::new(TRANSFORMER, layer, Method::Lora, 8, 8.0, &mut random, device);
    let adapters = Targets::Attention.layers_of(network).into_iter().map(adapter).collect();
    let mut trainer = Trainer::new(adapters, TrainerSettings { learning_rate: 5e-3, ..TrainerSettings::default() });
    pipeline.patch_weights(trainer.patches(ComponentPatches::new()), PatchMode::Attach)?;
    while trainer.steps() < 100 {
        let report = trainer.step(pipeline.load_denoiser(&mut ignore)?, &mut batches)?;
        eprintln!("step {}: loss {:.3}", report.step, report.loss);
    }
    Ok(write_png("output-2.png".as_ref(), &pipeline.generate(&request, &mut ignore)?[0], &prompt)?)
}
