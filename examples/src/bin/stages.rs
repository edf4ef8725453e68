//! Encode a prompt once, keep it, and draw it twice: with another seed and another strength of guidance.
//!
//! ```sh
//! cargo run --release -p diffusion-examples --bin stages -- "a boat with a white sail on the sea"
//! cargo run --release -p diffusion-examples --bin stages -- "a fox" stable-diffusion-3.5-medium --side 512
//! ```
//!
//! writes `output-1.png` and `output-2.png`.

use std::{error::Error, path::PathBuf, process::ExitCode};

use burn::tensor::Device;
use clap::Parser;
use diffusion_app::{embedded_model, image_file::write_png};
use diffusion_models::{Pipeline, PipelineOptions, Settings, Start, ignore};

/// Encode a prompt once, and draw it twice.
#[derive(Parser)]
struct Arguments {
    /// What the images shall show.
    prompt: String,
    /// A diffusers folder or a single file; without it, the miniature that this program carries.
    model: Option<PathBuf>,
    /// Pixels on a side; without it, as the model's authors recommend.
    #[arg(long)]
    side: Option<usize>,
}

fn main() -> ExitCode {
    diffusion_app::cli::run(|| draw(Arguments::parse()))
}

fn draw(Arguments { prompt, model, side }: Arguments) -> Result<(), Box<dyn Error>> {
    let model = model.map_or_else(embedded_model, Ok)?;
    let mut pipeline = Pipeline::open(&model, &PipelineOptions::new(&Device::default()))?;
    let defaults = pipeline.default_settings();
    let side = side.unwrap_or(defaults.width);
    let gentle = Settings { width: side, height: side, guidance_scale: 3.0, ..defaults };
    let strict = Settings { guidance_scale: 7.0, ..gentle.clone() };

    // An encoded prompt is all that the denoising network needs of the text encoders, so they can go. It serves any seed and any
    // settings but the sequence length, and with a negative prompt it serves any scale of guidance.
    let encoded = pipeline.encode_prompt(&prompt, "blurry", &gentle, &mut ignore)?;
    pipeline.free_prompt_encoder();

    for (seed, settings) in [(1, gentle), (2, strict)] {
        let latents = pipeline.denoise(&encoded, &Start::from_seeds(&[seed]), &settings, &mut ignore)?;
        for image in pipeline.decode(latents, settings.tiling, &mut ignore)? {
            write_png(format!("output-{seed}.png").as_ref(), &image, &prompt)?;
        }
    }
    Ok(())
}
