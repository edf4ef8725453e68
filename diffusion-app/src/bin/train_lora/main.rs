//! Train a LoRA from pictures with captions.

mod adapters;
mod arguments;
mod chart;
mod data;
mod files;
mod given_batches;
mod log;
mod method;
mod plan;
mod progress;
mod run;
mod samples;
mod sampling;
mod settings;
mod shift;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use diffusion_app::cli::{Sources, Verbosity, display_name, print, run as run_program};
#[cfg(feature = "flex")]
use diffusion_app::device::DeviceName;
use diffusion_app::output::check_writable;
#[cfg(feature = "flex")]
use diffusion_app::training::check_gradients;
use diffusion_app::training::{LiveCaptions, MemoryPlan};
use diffusion_core::Residency;
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchWeights};
use diffusion_lora::train::{TrainedAdapter, Trainer, TrainingNotes};
use diffusion_lora::{Lora, LoraSet};
use diffusion_models::{Pipeline, PipelineOptions, PromptEncoder, ignore};

use adapters::{Adapters, adapters};
use arguments::Arguments;
use files::{RunFiles, earlier_identity};
use given_batches::GivenBatches;
use run::Run;
use samples::{Samples, are_drawn};
use settings::RunSettings;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_program(|| train(&arguments))
}

fn train(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let output = &arguments.output;
    if !arguments.plan {
        for path in [Some(&output.output), output.log.as_ref(), output.chart.as_ref()].into_iter().flatten() {
            check_writable(path)?;
        }
        output.check()?;
    }
    let earlier = if arguments.restart { BTreeMap::new() } else { earlier_identity(&output.output)? };
    let device = arguments.model.device.open()?;
    let Sources { model, components, loras } = Sources::find(&arguments.given_sources(), arguments.model.device, verbosity)?;
    let precision = arguments.model.precision.on(arguments.model.device, &device);
    let options = PipelineOptions { components, precision, ..PipelineOptions::new(&device) };
    let mut pipeline = Pipeline::open(model.path(), &options)?;
    let settings = RunSettings::new(arguments, pipeline.info(), &earlier)?;
    let targets = pipeline.patch_targets();
    let mut loras = loras.into_iter();
    let assistant = match arguments.model.assistant_lora.as_ref().and_then(|_| loras.next()) {
        Some(path) => Some(Lora::open(&path)?),
        None => None,
    };
    let init_lora = loras.next().map(|path| Lora::open(&path)).transpose()?;
    let Adapters { of_network, of_text_encoders } = adapters(arguments, init_lora.as_ref(), &pipeline, &targets)?;
    let pictures = data::read(arguments, &settings, &pipeline, verbosity)?;

    let mut trainer = Trainer::with_text_encoders(of_network, of_text_encoders, settings.trainer.clone());
    let factors = plan::factors(arguments, pictures.as_ref(), &pipeline, &trainer);
    if arguments.plan {
        return Ok(print(MemoryPlan::new(&pipeline, &factors))?);
    }
    if pictures.is_some() {
        let residency = plan::residency(arguments, &pipeline, &factors, verbosity)?;
        pipeline.set_residency(residency);
        trainer.keep_graphs(plan::kept_graphs(arguments, &pipeline, &factors, residency));
    } else if arguments.model.stream_weights {
        pipeline.set_residency(Residency::Streamed);
    }
    let mut identity = settings.identity(arguments);
    data::identify(arguments, pictures.as_ref(), &mut identity)?;
    data::identify_model(&pipeline, &mut identity)?;
    for (name, lora) in [("initial LoRA", &init_lora), ("assistant LoRA", &assistant)] {
        if let Some(lora) = lora {
            identity.insert(name.to_owned(), data::hash_of_file(lora.path())?);
        }
    }
    let assistant = match &assistant {
        Some(lora) => LoraSet::new().with(lora, 1.0).patches(&targets, &device)?.0,
        None => ComponentPatches::new(),
    };
    let files = RunFiles {
        output: &output.output,
        spelling: output.format,
        format: output.dtype,
        targets: &targets,
        notes: notes(arguments, &pipeline, &settings),
        identity,
    };
    files.check(&trainer)?;

    #[cfg(feature = "flex")]
    if arguments.model.device != DeviceName::Cpu {
        check_gradients(&device, &DeviceName::Cpu.open()?, precision.compute)?;
    }
    verbosity.note(format_args!("{} in {precision}", arguments.model.device.describe(&device)));
    verbosity.note(format_args!("{}: {}", pipeline.info().path.display(), trained_numbers(&trainer)));
    settings.describe(arguments, &pipeline.info().training).into_iter().for_each(|line| verbosity.note(line));
    if let Some(pictures) = &pictures {
        verbosity.note(pictures.summary());
        pictures.summary().warnings.iter().for_each(data::warn);
    }
    if arguments.restart {
        let _ = std::fs::remove_file(files.state());
    } else if files.resume(&mut trainer, &device)? {
        let drawn = are_drawn(&output.output, &arguments.samples, trainer.steps());
        if trainer.steps() >= arguments.num_steps() && drawn {
            files.write_output(&trainer)?;
            verbosity.note(format_args!(
                "{} has its {} steps already; more --steps go on, --restart begins anew",
                output.output.display(),
                trainer.steps()
            ));
            return Ok(());
        }
        verbosity.note(format_args!("going on after step {}", trainer.steps()));
    }

    let largest = pictures.as_ref().and_then(|pictures| pictures.summary().largest_bucket());
    let samples = Samples::new(&arguments.samples, largest, &output.output, &mut pipeline)?;
    if let Some(pictures) = pictures {
        let mut set = data::encode(arguments, &settings, &pictures, &mut pipeline, verbosity)?;
        let text_encoders = trained_text_encoders(arguments, &pipeline, &trainer)?;
        let text_encoders = text_encoders.as_deref();
        let run = Run { arguments, pipeline: &mut pipeline, trainer, files, samples, text_encoders, assistant, verbosity };
        return match text_encoders {
            Some(text_encoders) => run.finish(&mut LiveCaptions::new(&mut set, text_encoders)),
            None => run.finish(&mut set),
        };
    }
    let path = arguments.data.batches.as_deref().ok_or("neither pictures nor batches were given")?;
    let mut batches = GivenBatches::read(path, &pipeline)?;
    pipeline.free_prompt_encoder();
    let run = Run { arguments, pipeline: &mut pipeline, trainer, files, samples, text_encoders: None, assistant, verbosity };
    run.finish(&mut batches)
}

/// How much is trained.
fn trained_numbers(trainer: &Trainer) -> String {
    let adapters = trainer.adapters();
    let numbers: usize = adapters.iter().map(TrainedAdapter::num_elements).sum();
    let mut components: Vec<String> = adapters.iter().map(|adapter| adapter.component.to_string()).collect();
    components.dedup();
    format!("{} layers ({}), {:.2} million numbers to train", adapters.len(), components.join(", "), numbers as f64 / 1e6)
}

/// Text encoders with what is trained of them, if they are trained along.
fn trained_text_encoders(
    arguments: &Arguments,
    pipeline: &Pipeline,
    trainer: &Trainer,
) -> Result<Option<Box<dyn PromptEncoder>>, Box<dyn Error>> {
    if !arguments.adapter.train_text_encoders {
        return Ok(None);
    }
    let encoders = pipeline.load_clip_encoders(&mut ignore)?;
    // Assistants are for the transformer: captions are encoded without theirs, too, where text encoders are not trained.
    Ok(Some(encoders.patched(&trainer.patches(ComponentPatches::new()), PatchMode::Attach)?))
}

/// What the file says of its training.
fn notes(arguments: &Arguments, pipeline: &Pipeline, settings: &RunSettings) -> TrainingNotes {
    let info = pipeline.info();
    let base = arguments.model.model.as_deref().map_or_else(|| "miniature".to_owned(), display_name);
    let trainer = &settings.trainer;
    let entries = [
        ("base_model_version", info.training.architecture.to_owned()),
        ("sd_model_name", base),
        ("network_module", "diffusion-lora".to_owned()),
        ("learning_rate", trainer.learning_rate.to_string()),
        ("lr_scheduler", trainer.schedule.course.to_string()),
        ("lr_warmup_steps", trainer.schedule.warm_up_steps.to_string()),
        ("optimizer", trainer.optimizer.name().to_owned()),
        ("max_grad_norm", trainer.max_gradient_norm.unwrap_or(0.0).to_string()),
        ("gradient_accumulation_steps", trainer.accumulation.to_string()),
        ("batch_size_per_device", arguments.batch_size().to_string()),
        ("seed", arguments.steps.seed.to_string()),
        ("mixed_precision", arguments.model.precision.to_string()),
        ("weighting_scheme", trainer.weighting.to_string()),
        ("timestep_sampling", settings.levels.density.name().to_owned()),
        ("caption_dropout_rate", settings.caption_dropout.to_string()),
    ];
    let mut all: BTreeMap<String, String> = entries.map(|(name, value)| (name.to_owned(), value)).into();
    if let Some(guidance) = trainer.distilled_guidance {
        all.insert("guidance_scale".to_owned(), guidance.to_string());
    }
    if let Some(rate) = trainer.text_encoder_learning_rate {
        all.insert("text_encoder_lr".to_owned(), rate.to_string());
    }
    TrainingNotes {
        architecture: Some(info.training.architecture.to_owned()),
        title: arguments.output.output.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        trigger_phrase: arguments.data.trigger.clone(),
        settings: all,
        ..TrainingNotes::default()
    }
}
