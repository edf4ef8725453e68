//! One case, kept in memory and run whenever it is asked for: ours beside a peer in a process of its own.
//!
//! ```sh
//! yes | head -7 | cargo run --release -p diffusion-benches --bin case -- flux/512 --products f32 --weights q8_0
//! ```
//!
//! It prints `ready OPERATIONS BYTES`, then seconds for every line of standard input. `benches/compare.sh` reads that.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use diffusion_benches::{CASES, Case, Products, Setting};
use diffusion_core::format::Format;

/// Run a part of a generation once for every line of standard input, and print its seconds.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    /// The part.
    #[arg(value_parser = PossibleValuesParser::new(CASES.map(|case| case.name)))]
    case: String,
    /// What products round their operands to.
    #[arg(long, value_enum, default_value = "f32")]
    products: Products,
    /// How its file has matrices.
    #[arg(long, default_value = "f32", value_parser = PossibleValuesParser::new(["f32", "bf16", "q8_0", "q4_0"]))]
    weights: String,
}

/// Runs that are not counted: buffers are made, and pages of the file come into memory.
const WARM_UPS: usize = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    diffusion_app::cli::run(|| answer(&arguments))
}

fn answer(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let case = Case::named(&arguments.case).ok_or("no such case")?;
    let weights = match arguments.weights.as_str() {
        "bf16" => Format::BF16,
        "q8_0" => Format::Q8_0,
        "q4_0" => Format::Q4_0,
        _ => Format::F32,
    };
    let mut running = case.build(Setting { products: arguments.products, weights })?;
    for _ in 0..WARM_UPS {
        (running.run)();
    }
    let mut out = io::stdout();
    writeln!(out, "ready {} {}", case.operations(), running.bytes)?;
    for line in io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        (running.run)();
        writeln!(out, "{}", start.elapsed().as_secs_f64())?;
    }
    Ok(())
}
