//! What a request costs beside the drawing: the time from asking to the end, over the library's own time for the same picture.
//!
//! `cargo run --release -p diffusion-studio --example request_cost`

use std::error::Error;
use std::time::Instant;

use diffusion_app::device::DeviceName;
use diffusion_app::embedded_model::{embedded_model, recommended};
use diffusion_app::precision::PrecisionName;
use diffusion_models::{Pipeline, PipelineOptions, Request, Settings, ignore};
use diffusion_studio::registry::ModelSource;
use diffusion_studio::{Studio, StudioConfig, router};
use reqwest::Client;
use serde_json::{Value, json};

const PROMPT: &str = "a large green star on a white background";
const ROUNDS: u64 = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    let mut config = StudioConfig::new(data.path().to_owned(), vec![ModelSource::miniature()?]);
    config.jobs_per_minute = None;
    let studio = Studio::start(config).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/api/v1/jobs", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, router(&studio)).into_future());
    let client = Client::new();
    let (mut pipeline, settings) = library()?;

    let (mut own, mut asked, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..=ROUNDS {
        let began = Instant::now();
        pipeline.generate(&Request { seeds: vec![seed], settings: settings.clone(), ..Request::new(PROMPT) }, &mut ignore)?;
        let library = began.elapsed();
        let began = Instant::now();
        ask(&client, &url, seed).await?;
        let request = began.elapsed();
        let began = Instant::now();
        let repeat = ask(&client, &url, seed).await?;
        assert_eq!(repeat["cached"], true);
        // The first round loads.
        if seed > 0 {
            own.push(library.as_secs_f64());
            asked.push(request.as_secs_f64());
            repeated.push(began.elapsed().as_secs_f64());
        }
    }
    let [own, asked, repeated] = [own, asked, repeated].map(|seconds| 1e3 * median(seconds));
    println!("medians of {ROUNDS} pictures of {} x {}, {} steps:", settings.width, settings.height, settings.num_steps);
    println!("the library          {own:8.2} ms");
    println!("a request            {asked:8.2} ms, {:.2} ms more", asked - own);
    println!("a repeat             {repeated:8.2} ms");
    Ok(())
}

/// A pipeline as the server has it.
fn library() -> Result<(Pipeline, Settings), Box<dyn Error>> {
    let device = DeviceName::Cpu.open()?;
    let mut pipeline = Pipeline::open(&embedded_model()?, &PipelineOptions::new(&device))?;
    let precision = PrecisionName::Auto.for_model(DeviceName::Cpu, &pipeline);
    pipeline.set_precision(precision);
    let settings = recommended(pipeline.default_settings());
    Ok((pipeline, settings))
}

/// Ask for a picture, follow its events, and fetch it: the job.
async fn ask(client: &Client, url: &str, seed: u64) -> Result<Value, Box<dyn Error>> {
    let job: Value = client.post(url).json(&json!({ "prompt": PROMPT, "seed": seed })).send().await?.json().await?;
    let id = job["id"].as_str().ok_or("no job")?;
    if job["status"] != "completed" {
        let events = client.get(format!("{url}/{id}/events")).send().await?.text().await?;
        assert!(events.contains("event: completed"), "{events}");
    }
    Ok(job)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
