//! The memory plan of a run.

use diffusion_app::cli::Verbosity;
use diffusion_app::memory::available_memory;
use diffusion_app::training::{Bucket, MemoryFactors, MemoryPlan, TrainingPictures};
use diffusion_core::Residency;
use diffusion_lora::train::Trainer;
use diffusion_models::Pipeline;

use crate::arguments::Arguments;

/// Resolutions that are tried where a run does not fit.
const SMALLER: [usize; 4] = [768, 512, 384, 256];

/// What the memory of a run depends on.
pub(crate) fn factors(
    arguments: &Arguments,
    pictures: Option<&TrainingPictures>,
    pipeline: &Pipeline,
    trainer: &Trainer,
) -> MemoryFactors {
    let side = pipeline.info().defaults.width;
    let bucket =
        pictures.and_then(|pictures| pictures.summary().largest_bucket()).unwrap_or(Bucket { width: side, height: side });
    let with_class = if arguments.data.class_data.is_some() { 2 } else { 1 };
    let factors = MemoryFactors {
        bucket,
        batch_size: arguments.batch_size() * with_class,
        max_sequence_length: pipeline.info().defaults.max_sequence_length,
        kept_graphs: arguments.steps.keep_graphs.unwrap_or(1),
        text_encoders: arguments.adapter.train_text_encoders,
        trained: 0,
        optimizer_numbers: 0,
    };
    factors.of_adapters(trainer.adapters(), &trainer.settings().optimizer)
}

/// Whether weights stay in memory: as asked, and otherwise if they fit.
///
/// # Errors
/// If even streamed weights do not fit: what would.
pub(crate) fn residency(
    arguments: &Arguments,
    pipeline: &Pipeline,
    factors: &MemoryFactors,
    verbosity: Verbosity,
) -> Result<Residency, String> {
    let plan = MemoryPlan::new(pipeline, factors);
    let asked = arguments.model.stream_weights;
    let Some(available) = available_memory(arguments.model.device) else {
        return Ok(if asked { Residency::Streamed } else { Residency::Resident });
    };
    let [resident, streamed] = [Residency::Resident, Residency::Streamed].map(|residency| plan.peak(residency));
    if streamed > available {
        return Err(shortage(pipeline, factors, streamed, available));
    }
    if resident > available && !asked {
        let [needed, free] = [resident, available].map(|bytes| bytes as f64 / 1e9);
        verbosity.note(format_args!("streaming weights from their files: they would take {needed:.1} GB, {free:.1} GB are free"));
    }
    Ok(if asked || resident > available { Residency::Streamed } else { Residency::Resident })
}

/// How many graphs of blocks are kept: as asked, or as many as half of the free memory is enough for.
pub(crate) fn kept_graphs(arguments: &Arguments, pipeline: &Pipeline, factors: &MemoryFactors, residency: Residency) -> usize {
    if let Some(asked) = arguments.steps.keep_graphs {
        return asked;
    }
    let Some(available) = available_memory(arguments.model.device).filter(|_| residency == Residency::Resident) else { return 1 };
    // With one graph, which there is in any case.
    let plan = MemoryPlan::new(pipeline, factors);
    let left = (available / 2).saturating_sub(plan.training(residency));
    (1 + left / plan.kept_graph.max(1)).clamp(1, plan.blocks.max(1))
}

/// What is short, and what would fit.
fn shortage(pipeline: &Pipeline, factors: &MemoryFactors, needed: usize, available: usize) -> String {
    let peak = |factors: &MemoryFactors| MemoryPlan::new(pipeline, factors).peak(Residency::Streamed);
    let gigabytes = |bytes: usize| format!("{:.1} GB", bytes as f64 / 1e9);
    let mut ways = Vec::new();
    let frugal = MemoryFactors { batch_size: 1, kept_graphs: 1, ..*factors };
    if peak(&frugal) < needed {
        ways.push(format!("--batch-size 1 --keep-graphs 1 takes {}", gigabytes(peak(&frugal))));
    }
    let smaller = SMALLER.into_iter().filter(|&side| side < factors.bucket.width.max(factors.bucket.height));
    let smaller = smaller.map(|side| (side, peak(&MemoryFactors { bucket: Bucket { width: side, height: side }, ..frugal })));
    if let Some((side, bytes)) = smaller.clone().find(|(_, bytes)| *bytes <= available).or_else(|| smaller.clone().next_back()) {
        ways.push(format!("with --resolution {side} besides it takes {}", gigabytes(bytes)));
    }
    ways.push("a file in a smaller number format (GGUF, fp8) takes less".to_owned());
    format!(
        "even with weights streamed from their files the run takes about {}, and {} of memory are free; {}",
        gigabytes(needed),
        gigabytes(available),
        ways.join("; ")
    )
}
