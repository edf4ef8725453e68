//! Prints what a model, a checkpoint or a LoRA holds.
//!
//! `inspect realism_lora.safetensors`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{PrintError, print, repository_hint, run_with_help};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::files::OneLine;
use diffusion_lora::{Lora, LoraError};
use diffusion_models::{FileKind, ModelFolder, file_kind, released_models};
use indicatif::HumanBytes;

/// Print what a model, a checkpoint or a LoRA holds, and for a LoRA which models it fits. Weights are not read.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A .safetensors or .gguf file, a .safetensors.index.json, a folder with weights or with a LoRA, or a whole model: a
    /// diffusers folder or a .dduf file. A component of it is named as in model.dduf/vae.
    file: PathBuf,
    /// List every tensor with its shape and format.
    #[arg(long)]
    tensors: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let inspect = || {
        if let Some(folder) = ModelFolder::open(&arguments.file)? {
            return Ok(print_folder(&arguments, &folder)?);
        }
        if arguments.tensors {
            list_tensors("", &Checkpoint::open(&arguments.file)?)?;
        }
        match Lora::open(&arguments.file) {
            Ok(lora) => print_lora(&lora)?,
            Err(LoraError::NotALora { .. } | LoraError::Checkpoint(_)) => print_checkpoint(&arguments.file)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    run_with_help(inspect, |_| repository_hint(&arguments.file))
}

/// What a whole model consists of.
fn print_folder(arguments: &Arguments, folder: &ModelFolder) -> Result<(), PrintError> {
    let weights = || folder.components.iter().filter_map(|component| Some((component, component.weights.as_ref()?)));
    if arguments.tensors {
        for (component, weights) in weights() {
            list_tensors(&format!("{}: ", component.name), weights)?;
        }
    }
    print(format_args!("{}: the components of a {}", arguments.file.display(), OneLine(&folder.pipeline_class)))?;
    for component in &folder.components {
        print(format_args!("  {}: {}", OneLine(&component.name), OneLine(&component.class_name)))?;
        if let Some(weights) = &component.weights {
            print(format_args!("    {}", file_kind(weights)))?;
            print_formats("    ", weights)?;
        }
    }
    let total: usize = weights().map(|(_, weights)| weights.num_bytes()).sum();
    print(format_args!("  {} of weights in all", HumanBytes(total as u64)))
}

fn list_tensors(prefix: &str, checkpoint: &Checkpoint) -> Result<(), PrintError> {
    for (name, tensor) in checkpoint.tensors() {
        print(format_args!("{prefix}{} {:?} {}", OneLine(name), tensor.shape(), tensor.format()))?;
    }
    Ok(())
}

fn print_formats(indent: &str, checkpoint: &Checkpoint) -> Result<(), PrintError> {
    let mut formats: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (_, tensor) in checkpoint.tensors() {
        let (count, bytes) = formats.entry(tensor.format().to_string()).or_default();
        *count += 1;
        *bytes += tensor.num_bytes();
    }
    for (format, (count, bytes)) in formats {
        print(format_args!("{indent}{count} tensors in {format}, {}", HumanBytes(bytes as u64)))?;
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
    print_formats("  ", &checkpoint)?;
    let mut prefixes: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, tensor) in checkpoint.tensors() {
        *prefixes.entry(name.split('.').next().unwrap_or(name)).or_default() += tensor.num_bytes();
    }
    for (prefix, bytes) in prefixes {
        print(format_args!("  {}: {}", OneLine(prefix), HumanBytes(bytes as u64)))?;
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
