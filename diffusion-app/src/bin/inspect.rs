//! Prints what a checkpoint or a LoRA holds.
//!
//! `inspect realism_lora.safetensors`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{repository_hint, run_with_help};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_lora::{Lora, LoraError};
use diffusion_models::{file_kind, released_models};
use indicatif::HumanBytes;

/// Print what a checkpoint or a LoRA holds, and for a LoRA which models it fits. Weights are not read.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A .safetensors or .gguf file, a .safetensors.index.json, or a folder with weights or with a LoRA.
    file: PathBuf,
    /// List every tensor with its shape and format.
    #[arg(long)]
    tensors: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let inspect = || {
        if arguments.tensors {
            list_tensors(&arguments.file)?;
        }
        match Lora::open(&arguments.file) {
            Ok(lora) => print_lora(&lora),
            Err(LoraError::NotALora { .. } | LoraError::Checkpoint(_)) => print_checkpoint(&arguments.file)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    run_with_help(inspect, |_| repository_hint(&arguments.file))
}

fn list_tensors(path: &Path) -> Result<(), Box<dyn Error>> {
    for (name, tensor) in Checkpoint::open(path)?.tensors() {
        println!("{name} {:?} {}", tensor.shape(), tensor.format());
    }
    Ok(())
}

fn print_checkpoint(path: &Path) -> Result<(), Box<dyn Error>> {
    let checkpoint = Checkpoint::open(path)?;
    println!("{}: {}", path.display(), file_kind(&checkpoint));
    let mut formats: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (_, tensor) in checkpoint.tensors() {
        let (count, bytes) = formats.entry(tensor.format().to_string()).or_default();
        *count += 1;
        *bytes += tensor.num_bytes();
    }
    for (format, (count, bytes)) in formats {
        println!("  {count} tensors in {format}, {}", HumanBytes(bytes as u64));
    }
    let mut prefixes: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, tensor) in checkpoint.tensors() {
        *prefixes.entry(name.split('.').next().unwrap_or(name)).or_default() += tensor.num_bytes();
    }
    for (prefix, bytes) in prefixes {
        println!("  {prefix}: {}", HumanBytes(bytes as u64));
    }
    Ok(())
}

fn print_lora(lora: &Lora) {
    println!("{}", lora.contents());
    for (model, targets) in released_models() {
        let report = lora.report(&targets);
        let matched = report.num_matched();
        if report.fits() {
            let components = report.matched.iter().map(|(component, count)| format!("{count} in the {component}"));
            println!("  fits {model}: {}", components.collect::<Vec<_>>().join(", "));
        } else if matched > 0 {
            let (unexpected, mismatched) = (report.unexpected.len(), report.mismatched.len());
            println!("  {model}: {matched} modules fit, {unexpected} have no place there, {mismatched} have other shapes");
        }
    }
}
