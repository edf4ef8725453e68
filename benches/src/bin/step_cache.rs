//! What step caches save and cost: a table of thresholds, for the miniature model.
//!
//! ```sh
//! cargo run --release -p diffusion-benches --bin step_cache
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use diffusion_app::embedded_model;
use diffusion_models::{Pipeline, PipelineOptions, Settings, Start, StepCache, ignore};

const PROMPT: &str = "a red house in the snow at night, a full moon in the sky";
const NUM_STEPS: usize = 28;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn main() -> ExitCode {
    diffusion_app::cli::run(print_table)
}

fn print_table() -> Result<(), Box<dyn Error>> {
    let mut pipeline = Pipeline::open(&embedded_model()?, &PipelineOptions::new(&Device::default()))?;
    let settings = Settings { num_steps: NUM_STEPS, guidance_scale: 5.0, ..pipeline.default_settings() };
    let prompt = pipeline.encode_prompt(PROMPT, "", &settings, &mut ignore)?;
    pipeline.free_prompt_encoder();
    let mut draw = |step_cache: StepCache, seed: u64| -> Result<(Tensor<4>, usize, f64), Box<dyn Error>> {
        let settings = Settings { step_cache, ..settings.clone() };
        let before = Instant::now();
        let latents = pipeline.denoise(&prompt, &Start::from_seeds(&[seed]), &settings, &mut ignore)?;
        Ok((latents, pipeline.step_cache_report().reused, before.elapsed().as_secs_f64()))
    };
    let exact = SEEDS.map(|seed| draw(StepCache::Off, seed)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let exact_seconds: f64 = exact.iter().map(|(.., seconds)| seconds).sum();

    println!("| cache | threshold | steps reused of {NUM_STEPS} | latents off by | time |\n|---|---|---|---|---|");
    let first_block = [0.05, 0.1, 0.2, 0.3].map(|threshold| ("first-block", threshold, StepCache::FirstBlock { threshold }));
    let easy = [0.05, 0.1, 0.2, 0.3].map(|threshold| ("easy", threshold, StepCache::Easy { threshold, start: 0.15, stop: 0.95 }));
    for (name, threshold, cache) in first_block.into_iter().chain(easy) {
        let (mut error, mut reused, mut seconds) = (0.0, 0, 0.0);
        for (seed, (exact, ..)) in SEEDS.into_iter().zip(&exact) {
            let (latents, reused_here, seconds_here) = draw(cache, seed)?;
            error += relative_error(latents, exact.clone()) / SEEDS.len() as f64;
            (reused, seconds) = (reused + reused_here, seconds + seconds_here);
        }
        let reused = reused as f64 / SEEDS.len() as f64;
        println!("| {name} | {threshold} | {reused:.1} | {:.1} % | {:.0} % |", 100.0 * error, 100.0 * seconds / exact_seconds);
    }
    Ok(())
}

/// Norm of the difference over the norm of what is exact.
fn relative_error(found: Tensor<4>, exact: Tensor<4>) -> f64 {
    let norm = |x: Tensor<4>| f64::from(x.square().sum().sqrt().into_scalar::<f32>());
    norm(found - exact.clone()) / norm(exact)
}
