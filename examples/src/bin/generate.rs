//! Draw two images with any model, and with a LoRA if there is one for it. The Enter key cancels.
//!
//! ```sh
//! cargo run --release -p diffusion-examples --bin generate -- "a tree in the snow by day"
//! cargo run --release -p diffusion-examples --bin generate -- "a fox" FLUX.1-dev ink.safetensors --side 512
//! ```
//!
//! writes `output-1.png` and `output-2.png`.

use std::{error::Error, ops::ControlFlow, path::PathBuf, process::ExitCode, sync::mpsc, thread};

use burn::tensor::Device;
use clap::Parser;
use diffusion_app::{embedded_model, image_file::write_png};
use diffusion_lora::{Lora, LoraSet, SetLoras};
use diffusion_models::{Event, Pipeline, PipelineOptions, Request, Settings};

/// Draw two images. Enter cancels.
#[derive(Parser)]
struct Arguments {
    /// What the images shall show.
    prompt: String,
    /// A diffusers folder or a single file; without it, the miniature that this program carries.
    model: Option<PathBuf>,
    /// A LoRA for the model.
    lora: Option<PathBuf>,
    /// Pixels on a side; without it, as the model's authors recommend.
    #[arg(long)]
    side: Option<usize>,
}

fn main() -> ExitCode {
    diffusion_app::cli::run(|| draw(Arguments::parse()))
}

fn draw(Arguments { prompt, model, lora, side }: Arguments) -> Result<(), Box<dyn Error>> {
    let model = model.map_or_else(embedded_model, Ok)?;
    let mut pipeline = Pipeline::open(&model, &PipelineOptions::new(&Device::default()))?;
    if let Some(path) = lora {
        pipeline.set_loras(&LoraSet::new().with(&Lora::open(&path)?, 1.0))?;
    }
    let defaults = pipeline.default_settings();
    let side = side.unwrap_or(defaults.width);
    let settings = Settings { width: side, height: side, ..defaults };
    let request = Request { seeds: vec![1, 2], settings, ..Request::new(prompt) };

    let (sender, enter) = mpsc::channel();
    thread::spawn(move || std::io::stdin().lines().next().map(|_| sender.send(())));
    let images = pipeline.generate(&request, &mut |event| {
        if let Event::Step(step) = event {
            eprintln!("step {} of {}", step.index + 1, step.num_steps);
        }
        if enter.try_recv().is_ok() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;

    for (seed, image) in request.seeds.iter().zip(&images) {
        write_png(format!("output-{seed}.png").as_ref(), image, &request.prompt)?;
    }
    Ok(())
}
