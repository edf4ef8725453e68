//! Prints what a checkpoint or a LoRA holds.
//!
//! `inspect realism_lora.safetensors`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use diffusion_core::Part;
use diffusion_core::checkpoint::{Checkpoint, PublishedNames};
use diffusion_lora::{Lora, LoraError, Report};
use diffusion_models::ModelKind;
use diffusion_models::clip::ClipConfig;
use diffusion_models::flux::FluxConfig;
use diffusion_models::sd3::Sd3Config;
use diffusion_models::t5::T5Config;
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
            Ok(lora) => print_lora(&lora),
            Err(LoraError::NotALora { .. } | LoraError::Checkpoint(_)) => print_checkpoint(&arguments.file)?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
}

fn list_tensors(path: &Path) -> Result<(), Box<dyn Error>> {
    for (name, tensor) in Checkpoint::open(path)?.tensors() {
        println!("{name} {:?} {}", tensor.shape(), tensor.format());
    }
    Ok(())
}

fn print_checkpoint(path: &Path) -> Result<(), Box<dyn Error>> {
    let checkpoint = Checkpoint::open(path)?;
    println!("{}: {}", path.display(), ModelKind::of(&checkpoint));
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
    println!("{}", Report::of(lora));
    for (model, names) in released_models() {
        let report = lora.report(&names);
        let matched = report.num_matched();
        if report.fits() {
            let parts = report.matched.iter().map(|(part, count)| format!("{count} in the {part}"));
            println!("  fits {model}: {}", parts.collect::<Vec<_>>().join(", "));
        } else if matched > 0 {
            let (unmatched, misshapen) = (report.unmatched.len(), report.misshapen.len());
            println!("  {model}: {matched} modules fit, {unmatched} have no place there, {misshapen} have other shapes");
        }
    }
}

/// Names and sizes of the released models, with all their text encoders.
fn released_models() -> Vec<(&'static str, BTreeMap<Part, PublishedNames>)> {
    let encoders = || [(Part::ClipL, ClipConfig::large().published_names()), (Part::T5, T5Config::xxl().published_names())];
    let model = |transformer: PublishedNames| {
        let mut names = BTreeMap::from(encoders());
        names.insert(Part::Transformer, transformer);
        names
    };
    let sd3 = |config: Sd3Config| {
        let mut names = model(config.published_names());
        names.insert(Part::ClipG, ClipConfig::big_g().published_names());
        names
    };
    vec![
        ("FLUX.1-dev", model(FluxConfig::dev().published_names())),
        ("FLUX.1-schnell", model(FluxConfig::schnell().published_names())),
        ("Stable Diffusion 3 Medium", sd3(Sd3Config::medium_3())),
        ("Stable Diffusion 3.5 Medium", sd3(Sd3Config::medium_3_5())),
        ("Stable Diffusion 3.5 Large", sd3(Sd3Config::large_3_5())),
    ]
}
