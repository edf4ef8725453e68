//! Encode a prompt once, draw it with several seeds, and stop in the middle of a picture when time is up.
//!
//! ```sh
//! cargo run --release -p diffusion-examples --bin encode_once -- "a tree in the snow by day" 8 4
//! ```
//!
//! draws with seeds 1 to 8, for at most 4 seconds.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use diffusion_app::embedded_model;
use diffusion_app::image_file::write_png;
use diffusion_core::{Precision, SampleError, SamplerStep};
use diffusion_models::sd3::Sd3Pipeline;
use diffusion_models::{ModelParts, PipelineError, Settings};

fn main() -> ExitCode {
    diffusion_app::cli::run(draw_until_time_is_up)
}

fn draw_until_time_is_up() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let prompt = arguments.next().ok_or("give a prompt, and if you like a number of pictures and of seconds")?;
    let count: u64 = arguments.next().map_or(Ok(4), |count| count.parse())?;
    let limit = Duration::from_secs_f64(arguments.next().map_or(Ok(10.0), |seconds| seconds.parse())?);

    let device = Device::default();
    let mut pipeline = Sd3Pipeline::open(&embedded_model()?, &ModelParts::default(), Precision::f32(), &device)?;
    let settings = Settings { num_steps: 20, guidance_scale: 5.0, ..pipeline.default_settings() };
    // The embeddings are all that the transformer needs: the encoders can go, and the embeddings serve every seed.
    let encoded = pipeline.encode_prompt(&prompt, "", &settings)?;
    pipeline.free_text_encoders();

    let start = Instant::now();
    for seed in 1..=count {
        let noise = pipeline.noise(seed, &settings);
        let latents = pipeline.denoise(&encoded, noise, &settings, &mut |step: SamplerStep| {
            eprint!("\rseed {seed}: step {} of {}", step.index + 1, step.num_steps);
            if start.elapsed() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        eprintln!();
        let latents = match latents {
            Err(PipelineError::Sample(SampleError::Cancelled { .. })) => {
                eprintln!("time is up");
                return Ok(());
            }
            latents => latents?,
        };
        for picture in pipeline.decode(latents, settings.tiling)? {
            let path = format!("output-{seed}.png");
            write_png(Path::new(&path), &picture, &prompt)?;
            eprintln!("wrote {path}");
        }
    }
    Ok(())
}
