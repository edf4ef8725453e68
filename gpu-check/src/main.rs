//! Whether a device computes what it should, and how fast.
//!
//! Every stage of the embedded model is compared with the CPU, attention and products at published widths with sums in f64. Then
//! the parts of a step are timed, in f32 and in bf16. What it prints is one table; the status is 0 only if all numbers are right.

mod attention;
mod compare;
mod lora;
mod memory;
mod network;
mod product;
mod sizes;
mod stages;
mod table;
mod tested;
mod timing;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{print, run};
use diffusion_app::device::DeviceName;
use diffusion_app::embedded_model::UnpackedModel;
use diffusion_app::output::{check_writable, write_whole};
use diffusion_app::precision::PrecisionName;

use sizes::Sizes;
use table::Table;
use tested::Tested;

/// Check whether a device computes what it should, and measure how fast.
///
/// The status is 0 if every number is as near to that of the CPU as its precision allows, and 1 otherwise.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The device: `cpu`, `cuda[:N]`, `rocm[:N]`, `vulkan[:N]`, `metal[:N]` or `webgpu[:N]`, if the program was built with it.
    #[arg(long, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Write the numbers into this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Small sizes, for small machines: the timed cases are then no published widths.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| check(&arguments))
}

fn check(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(path) = &arguments.json {
        check_writable(path)?;
    }
    let device = arguments.device.open()?;
    let model = UnpackedModel::in_user_cache()?;
    let sizes = if arguments.quick { Sizes::quick() } else { Sizes::published() };
    let precisions = [PrecisionName::F32, PrecisionName::Bf16].map(|name| name.on(arguments.device, &device)).into_iter();
    let precisions: Vec<_> = precisions.filter(|precision| device.supports_dtype(precision.compute)).collect();
    let tested = Tested { device, precisions, sizes, has_graphs: arguments.device != DeviceName::Cpu };
    let mut table = Table::new(arguments.device.describe(&tested.device))?;
    if tested.precisions.len() == 1 {
        print("this device does not compute in bf16, so f32 alone is checked")?;
    }
    stages::check(&tested, model.path(), &mut table)?;
    attention::check(&tested, &mut table)?;
    product::check(&tested, &mut table)?;
    lora::check(&tested, &mut table)?;
    timing::measure(&tested, &mut table)?;
    memory::report(&tested.device, &mut table)?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_vec_pretty(&table.json())?;
        write_whole(path, |file| file.write_all(&json))?;
    }
    let (checked, wrong) = table.counts();
    if wrong > 0 {
        return Err(format!("{wrong} of {checked} comparisons failed").into());
    }
    Ok(print(format_args!("all {checked} comparisons are right"))?)
}
