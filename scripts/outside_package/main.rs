//! Draws with the embedded model, as a program of somebody else would: `outside OUTPUT.png`.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::Device;
use diffusion_app::embedded_model;
use diffusion_app::image_file::write_png;
use diffusion_models::{Event, Pipeline, PipelineOptions, Request, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let output = PathBuf::from(std::env::args().nth(1).ok_or("give a file to write")?);
    let mut pipeline = Pipeline::open(&embedded_model()?, &PipelineOptions::new(&Device::flex()))?;
    let settings = Settings { num_steps: 4, ..pipeline.default_settings() };
    let request = Request { settings, ..Request::new("a large green star on a white background") };
    let images = pipeline.generate(&request, &mut |event| {
        if let Event::Step(step) = event {
            eprintln!("step {} of {}", step.index + 1, step.num_steps);
        }
        ControlFlow::Continue(()) // Break(()) cancels
    })?;
    write_png(&output, &images[0], &request.prompt)?;
    Ok(())
}
