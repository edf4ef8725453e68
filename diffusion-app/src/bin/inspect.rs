//! Prints what a checkpoint or a LoRA holds.
//!
//! `inspect realism_lora.safetensors`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{PrintError, print};
use diffusion_app::cli::{PrintError, print};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_lora::{Lora, LoraError};
use diffusion_models::{FileKind, file_kind, released_models};
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
    diffusion_app::cli::run(|| {
        if arguments.tensors {
            list_tensors(&arguments.file)?;
        }
        match Lora::open(&arguments.file) {
            Ok(lora) => print_lora(&lora)?,
            Err(LoraError::NotALora { .. } | LoraError::Checkpoint(_)) => print_checkpoint(&arguments.file)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
}

fn list_tensors(path: &Path) -> Result<(), Box<dyn Error>> {
    for (name, tensor) in Checkpoint::open(path)?.tensors() {
        print(format_args!("{} {:?} {}", name.escape_debug(), tensor.shape(), tensor.format()))?;
    }
    Ok(())
}

/// What the other components of an all-in-one file are found under.
const OTHER_COMPONENTS: [&str; 5] = ["vae.", "first_stage_model.", "text_encoders.", "cond_stage_model.", "conditioner."];

fn print_checkpoint(path: &Path) -> Result<(), Box<dyn Error>> {
    let checkpoint = Checkpoint::open(path)?;
    let kind = file_kind(&checkpoint);
    let others = checkpoint.filtered(|name| OTHER_COMPONENTS.iter().any(|prefix| name.starts_with(prefix)));
    let is_all_in_one = matches!(kind, FileKind::Denoiser(_) | FileKind::OtherModel(_)) && !others.is_empty();
    print(format_args!("{}: {}{kind}", path.display(), if is_all_in_one { "an all-in-one file with " } else { "" }))?;
    let mut formats: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (_, tensor) in checkpoint.tensors() {
        let (count, bytes) = formats.entry(tensor.format().to_string()).or_default();
        *count += 1;
        *bytes += tensor.num_bytes();
    }
    for (format, (count, bytes)) in formats {
        print(format_args!("  {count} tensors in {format}, {}", HumanBytes(bytes as u64)))?;
    }
    let mut prefixes: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, tensor) in checkpoint.tensors() {
        *prefixes.entry(name.split('.').next().unwrap_or(name)).or_default() += tensor.num_bytes();
    }
    for (prefix, bytes) in prefixes {
        print(format_args!("  {}: {}", prefix.escape_debug(), HumanBytes(bytes as u64)))?;
    }
    Ok(())
}

fn print_lora(lora: &Lora) -> Result<(), PrintError> {
    print(lora.contents())?;
    for (model, targets) in released_models() {
        let report = lora.report(&targets);
        let matched = report.num_matched();
        if report.fits() && matched > 0 {
            let components = report.matched.iter().map(|(component, count)| format!("{count} in the {component}"));
            print(format_args!("  fits {model}: {}", components.collect::<Vec<_>>().join(", ")))?;
        } else if matched > 0 {
            let (unexpected, mismatched) = (report.unexpected.len(), report.mismatched.len());
            print(format_args!(
                "  {model}: {matched} modules fit, {unexpected} have no place there, {mismatched} have other shapes"
            ))?;
        }
    }
    Ok(())
}
