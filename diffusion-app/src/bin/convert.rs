//! Writes a checkpoint in another number format, or as GGUF.
//!
//! `convert flux1-dev.safetensors flux1-dev-q8_0.gguf --dtype q8_0`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use diffusion_app::cli::{repository_hint, run_with_help, say};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{Conversion, Target};
use diffusion_models::convert;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Write a checkpoint in another number format, or as GGUF.
#[derive(Parser)]
struct Arguments {
    /// A .safetensors or .gguf file, a .safetensors.index.json, or a folder with weights, which may lie in a .dduf file, as in
    /// model.dduf/transformer.
    input: PathBuf,
    /// The new file. Its ending, .safetensors or .gguf, tells its kind.
    output: PathBuf,
    /// What weights are converted to. fp8 needs .safetensors, the q types .gguf.
    #[arg(long)]
    dtype: DType,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum DType {
    F32,
    F16,
    Bf16,
    #[value(name = "f8_e4m3")]
    F8E4M3,
    #[value(name = "f8_e4m3_scaled")]
    F8E4M3Scaled,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
}

impl From<DType> for Target {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::Bf16 => Self::BF16,
            DType::F8E4M3 => Self::F8E4M3,
            DType::F8E4M3Scaled => Self::F8E4M3Scaled,
            DType::Q8_0 => Self::Q8_0,
            DType::Q4_0 => Self::Q4_0,
            DType::Q4K => Self::Q4K,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_with_help(|| run(&arguments), |_| repository_hint(&arguments.input))
}

fn run(Arguments { input, output, dtype, force }: &Arguments) -> Result<(), Box<dyn Error>> {
    if output.exists() && !force {
        return Err(format!("{} exists already; give another name, or --force to replace it", output.display()).into());
    }
    let checkpoint = Checkpoint::open(input)?;
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}")?;
    let bar = ProgressBar::new(checkpoint.num_bytes() as u64).with_style(style);
    let conversion = convert(&checkpoint, output, (*dtype).into(), &mut |progress| {
        bar.set_position(progress.done as u64);
        bar.set_message(progress.tensor.to_owned());
    });
    bar.finish_and_clear();
    let Conversion { num_tensors, num_bytes, dropped, dropped_entries } = conversion?;
    if !dropped.is_empty() {
        say(format_args!("left out, being nothing that such a file can hold: {}", dropped.join(", ")));
    }
    if !dropped_entries.is_empty() {
        say(format_args!("header entries that such a file cannot have: {}", dropped_entries.join(", ")));
    }
    if let Some(settings) = settings_beside(input) {
        say(format_args!("warning: {} says what {} means; copy it beside the new file", settings.display(), input.display()));
    }
    say(format_args!("{}: {num_tensors} tensors, {}", output.display(), HumanBytes(num_bytes as u64)));
    Ok(())
}

/// The settings of a LoRA in PEFT's files: they hold its alpha, and lie beside it.
fn settings_beside(input: &Path) -> Option<PathBuf> {
    let is_adapter = input.file_stem().is_some_and(|stem| stem == "adapter_model");
    Some(input.with_file_name("adapter_config.json")).filter(|settings| is_adapter && settings.exists())
}
