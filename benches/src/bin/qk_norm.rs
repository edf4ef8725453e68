//! What normalised queries and keys do for training: a LoRA trained at a learning rate ten times too high, on a transformer with
//! them and on one without, otherwise the same.
//!
//! ```sh
//! cargo run --release -p diffusion-benches --bin qk_norm -- docs/images/qk-norm.svg
//! ```
//!
//! It prints the largest attention score and the loss of both by step, and draws them.

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use clap::Parser;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::ops::largest_scores;
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchTarget, parameter_shapes};
use diffusion_core::{Loading, Precision};
use diffusion_lora::train::{
    Batch, Batches, Method, Targets, TrainError, TrainedAdapter, Trainer, TrainerSettings, TrainingRandom,
};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::sd3::{QkNorm, Sd3Config, Sd3Transformer};
use diffusion_models::{Conditioning, Denoiser, NetworkConfig};
use plotters::prelude::*;

/// Train at ten times the usual learning rate with and without qk-norm, and draw the largest attention scores.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The chart, an SVG file.
    output: PathBuf,
    /// Number of steps.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Learning rate of `AdamW`.
    #[arg(long, default_value_t = 1e-2)]
    learning_rate: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    diffusion_app::cli::run(|| compare(&arguments))
}

/// A step of a run.
#[derive(Clone, Copy)]
struct Measured {
    loss: f64,
    largest_score: f64,
}

fn compare(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut runs = Vec::new();
    for (name, qk_norm) in [("with qk-norm", QkNorm::RootMeanSquare), ("without", QkNorm::None)] {
        let measured = train(qk_norm, arguments)?;
        for (step, Measured { loss, largest_score }) in measured.iter().enumerate() {
            println!("{name}, step {}: loss {loss:.4}, largest score {largest_score:.1}", step + 1);
        }
        runs.push((name, measured));
    }
    draw(&arguments.output, &runs)
}

fn config(qk_norm: QkNorm) -> Sd3Config {
    Sd3Config {
        num_layers: 6,
        num_heads: 6,
        joint_attention_dim: 128,
        pooled_projection_dim: 64,
        position_table_size: 16,
        dual_attention_layers: Vec::new(),
        qk_norm,
        ..Sd3Config::medium_3_5()
    }
}

/// Train until the last step, or until a number is not finite.
fn train(qk_norm: QkNorm, arguments: &Arguments) -> Result<Vec<Measured>, Box<dyn Error>> {
    let (config, device, folder) = (config(qk_norm), Device::flex(), tempfile::tempdir()?);
    let network = Sd3Transformer::load(write(&config, folder.path())?, &config, &Loading::new(Precision::f32(), &device))?;
    let target = PatchTarget { component: TRANSFORMER, aliases: vec![TRANSFORMER.name()], names: config.published_names() };
    let layers = Targets::AttentionAndFeedForward.layers_of(&target);
    let adapter = |(layer, index)| {
        TrainedAdapter::new(TRANSFORMER, layer, Method::Lora, 16, 16.0, &mut TrainingRandom::new(1, 1, index), &device)
    };
    let settings =
        TrainerSettings { learning_rate: arguments.learning_rate, max_gradient_norm: None, ..TrainerSettings::default() };
    let mut trainer = Trainer::new(layers.into_iter().zip(0..).map(adapter).collect(), settings);
    let patches = trainer.patches(ComponentPatches::new()).remove(&TRANSFORMER).unwrap_or_default();
    let network = Box::new(network).patched(&patches, PatchMode::Attach)?;
    let mut measured = Vec::new();
    for _ in 0..arguments.steps {
        let (report, scores) = largest_scores(|| trainer.step(&*network, &mut Waves { text_width: 128, pooled_width: 64 }));
        match report {
            Ok(report) => {
                let largest_score = scores.into_iter().map(f64::from).fold(0.0, f64::max);
                measured.push(Measured { loss: report.loss, largest_score });
            }
            Err(TrainError::NotFinite { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(measured)
}

/// Random weights with the variance that keeps that of activations; norms of one, biases of zero.
fn write(config: &Sd3Config, folder: &Path) -> Result<Checkpoint, Box<dyn Error>> {
    let path = folder.join("network.safetensors");
    let shapes = parameter_shapes(&config.init(FloatDType::F32, &Device::flex()));
    let specs = shapes.iter().map(|(name, shape)| TensorSpec { name: name.clone(), shape: shape.clone(), format: Format::F32 });
    let mut writer = CheckpointWriter::create(&path, Container::Safetensors, specs.collect(), None)?;
    let mut random = TorchGenerator::new(3);
    for (name, shape) in &shapes {
        let (len, fan_in) = (shape.iter().product::<usize>(), shape.iter().skip(1).product::<usize>().max(1));
        let values = match shape.len() {
            1 if name.ends_with("weight") => vec![1.0; len],
            1 => vec![0.0; len],
            _ => random.normal(len).into_iter().map(|value| value / (fan_in as f32).sqrt()).collect(),
        };
        writer.append(&values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?;
    }
    writer.finish()?;
    Ok(Checkpoint::open(&path)?)
}

/// Pictures that are waves, whose captions say how they run.
struct Waves {
    text_width: usize,
    pooled_width: usize,
}

impl Batches for Waves {
    type Error = Infallible;

    fn batch(&mut self, index: usize) -> Result<Batch, Infallible> {
        const CHANNELS: usize = 16;
        const SIDE: usize = 16;
        const TOKENS: usize = 8;
        let mut random = TrainingRandom::new(7, 2, index as u64);
        let device = Device::flex();
        let [across, down] = [random.uniform(), random.uniform()];
        let wave = |at: usize| {
            let (channel, y, x) = (at / (SIDE * SIDE), at / SIDE % SIDE, at % SIDE);
            (across * x as f64 + down * y as f64 + channel as f64).sin() as f32
        };
        let latents: Vec<f32> = (0..CHANNELS * SIDE * SIDE).map(wave).collect();
        let text = |at: usize| ((1.0 + at as f64) * (across + 2.0 * down)).sin() as f32;
        let tokens: Vec<f32> = (0..TOKENS * self.text_width).map(text).collect();
        let pooled: Vec<f32> = (0..self.pooled_width).map(text).collect();
        let noise = random.normals(latents.len());
        let shape = [1, CHANNELS, SIDE, SIDE];
        Ok(Batch {
            latents: Tensor::from_data(TensorData::new(latents, shape), &device),
            noise: Tensor::from_data(TensorData::new(noise, shape), &device),
            sigmas: vec![1.0 / (1.0 + (-random.normal()).exp())],
            captions: Vec::new(),
            conditioning: Conditioning {
                tokens: Tensor::from_data(TensorData::new(tokens, [1, TOKENS, self.text_width]), &device),
                pooled: Tensor::from_data(TensorData::new(pooled, [1, self.pooled_width]), &device),
            },
            weights: vec![1.0],
            names: vec![format!("wave {index}")],
        })
    }
}

/// What is drawn of a step.
type Value = fn(&Measured) -> f64;

fn draw(path: &Path, runs: &[(&str, Vec<Measured>)]) -> Result<(), Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 720)).into_drawing_area();
        root.fill(&WHITE)?;
        let steps = runs.iter().map(|(_, run)| run.len()).max().unwrap_or(1);
        let colors = [RGBColor(20, 80, 160), RGBColor(200, 70, 30)];
        let parts: [(&str, Value); 2] =
            [("largest attention score", |step| step.largest_score), ("loss, mean of 20 steps", |step| step.loss)];
        for (area, (title, value)) in root.split_evenly((2, 1)).into_iter().zip(parts) {
            let lines: Vec<Vec<f64>> =
                runs.iter().map(|(_, run)| smoothed(run, value, if title.starts_with("loss") { 20 } else { 1 })).collect();
            let all = || lines.iter().flatten().copied().filter(|value| *value > 0.0);
            let (lowest, highest) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .caption(title, ("sans-serif", 18))
                .x_label_area_size(30)
                .y_label_area_size(60)
                .build_cartesian_2d(
                    0..steps,
                    (lowest * 0.9..highest * 1.1).log_scale().base(if title.starts_with("loss") { 2.0 } else { 10.0 }),
                )?;
            chart.configure_mesh().x_desc("step").light_line_style(WHITE).draw()?;
            for ((line, (name, _)), color) in lines.iter().zip(runs).zip(colors) {
                let points = line.iter().enumerate().map(|(step, value)| (step + 1, *value));
                let series = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
                series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            }
            chart.configure_series_labels().background_style(WHITE).border_style(RGBColor(200, 200, 200)).draw()?;
        }
        root.present()?;
    }
    std::fs::write(path, svg)?;
    Ok(())
}

/// Means of the last `len` steps.
fn smoothed(run: &[Measured], value: fn(&Measured) -> f64, len: usize) -> Vec<f64> {
    let mean = |end: usize| {
        let window = &run[end.saturating_sub(len)..end];
        window.iter().map(value).sum::<f64>() / window.len() as f64
    };
    (1..=run.len()).map(mean).collect()
}
