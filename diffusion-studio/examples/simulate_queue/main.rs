//! The order and the placement of jobs in virtual time, with 10 to 10,000 workers.
//!
//! `cargo run --release -p diffusion-studio --example simulate_queue -- --charts docs`

mod charts;
mod fleet;
mod report;
mod run;
mod workload;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use diffusion_studio::jobs::Patience;

use crate::charts::Run;
use crate::report::{HEAD, Report};
use crate::run::{Policy, run};
use crate::workload::{Demand, Random, Workload};

/// Let fleets of workers draw many jobs in virtual time, and compare ways to give jobs to workers.
#[derive(Parser, Debug)]
struct Arguments {
    /// How many workers there are.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000, 10_000])]
    workers: Vec<usize>,
    /// What is asked for, over what they can draw.
    #[arg(long, value_delimiter = ',', default_values_t = [0.7, 0.9, 1.05])]
    load: Vec<f64>,
    /// How many jobs there are.
    #[arg(long, default_value_t = 1_000_000)]
    jobs: usize,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder for charts, which also show the effect of patience.
    #[arg(long)]
    charts: Option<PathBuf>,
}

/// Fleets and loads with which the effect of patience is shown, and times the cost that a ready job goes before.
const PATIENT_FLEETS: [usize; 3] = [10, 100, 1000];
const PATIENT_LOAD: f64 = 0.9;
const PATIENCES: [f64; 9] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut runs = Vec::new();
    println!("{HEAD}");
    for &workers in &arguments.workers {
        for &load in &arguments.load {
            let policies = [Policy::FirstCome, Policy::Fair, Policy::Placed(Patience::default())];
            runs.extend(compare(&arguments, workers, load, &policies));
        }
    }
    let Some(folder) = &arguments.charts else { return Ok(()) };
    charts::waits(&folder.join("queue-waits.svg"), &runs)?;
    charts::loads(&folder.join("queue-loads.svg"), &runs)?;
    let placed = |against_ready| Policy::Placed(Patience { against_ready, ..Patience::default() });
    let compared = PATIENT_FLEETS.map(|workers| compare(&arguments, workers, PATIENT_LOAD, &PATIENCES.map(placed)));
    charts::patience(&folder.join("queue-patience.svg"), &compared.concat())?;
    Ok(())
}

/// The same jobs under several policies.
fn compare(arguments: &Arguments, workers: usize, load: f64, policies: &[Policy]) -> Vec<Run> {
    let users = (workers * 20).clamp(1000, 50_000);
    let demand = Demand { jobs: arguments.jobs, users, workers, load };
    let workload = Workload::new(demand, &mut Random::new(arguments.seed));
    let one = |policy: &Policy| {
        let began = Instant::now();
        let outcome = run(&workload, workers, *policy);
        let passed = began.elapsed().as_secs_f64();
        let report = Report::new(&workload, workers, &outcome);
        println!("| {workers} | {load} | {} | {report} | {passed:.1} |", policy.name());
        Run { workers, load, policy: *policy, report }
    };
    policies.iter().map(one).collect()
}
