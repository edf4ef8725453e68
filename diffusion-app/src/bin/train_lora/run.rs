//! The loop of a run.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use diffusion_app::cli::Verbosity;
use diffusion_core::weights::{ComponentPatches, PatchMode, PatchWeights};
use diffusion_lora::train::{Batches, TrainError, Trainer};
use diffusion_models::{Pipeline, PromptEncoder, ignore};

use crate::arguments::Arguments;
use crate::chart::write_chart;
use crate::files::RunFiles;
use crate::log::{Log, LoggedStep};
use crate::progress::Progress;
use crate::samples::Samples;

/// What is needed to go on is written at least this often.
const STATE_INTERVAL: Duration = Duration::from_mins(5);

/// A run that is ready to begin.
pub(crate) struct Run<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) pipeline: &'a mut Pipeline,
    pub(crate) trainer: Trainer,
    pub(crate) files: RunFiles<'a>,
    pub(crate) samples: Option<Samples>,
    /// Text encoders with what is trained of them, if they are.
    pub(crate) text_encoders: Option<&'a dyn PromptEncoder>,
    /// LoRAs that are on while training and not in sample pictures.
    pub(crate) assistant: ComponentPatches,
    pub(crate) verbosity: Verbosity,
}

impl Run<'_> {
    /// Take all steps that are left, and write the LoRA.
    pub(crate) fn finish<B: Batches>(mut self, batches: &mut B) -> Result<(), Box<dyn Error>> {
        let (output, steps) = (&self.arguments.output, self.arguments.num_steps());
        let mut log = Log::open(output.log.as_deref(), self.trainer.steps())?;
        self.pipeline.patch_weights(self.trainer.patches(self.assistant.clone()), PatchMode::Attach)?;
        // The first ones, or those that an earlier run may have been stopped before.
        let begun = self.trainer.steps();
        if self.samples.as_ref().is_some_and(|samples| samples.are_due(begun, steps)) {
            self.draw_samples(begun)?;
        }
        let mut progress = Progress::new(self.verbosity, self.trainer.steps(), steps);
        let mut written = Instant::now();
        while self.trainer.steps() < steps {
            let began = Instant::now();
            let denoiser = self.pipeline.load_denoiser(&mut ignore)?;
            let report = self.trainer.step(denoiser, batches).map_err(|error| self.explained(error))?;
            let step = LoggedStep::new(report, began.elapsed().as_secs_f64());
            log.add(step)?;
            progress.show(&step);
            if step.step.is_multiple_of(output.save_every) {
                let path = self.files.write_checkpoint(&self.trainer, output.save_every, output.keep)?;
                progress.note(format_args!("wrote {} (loss {:.4})", path.display(), step.loss));
            }
            if step.step.is_multiple_of(output.save_every) || step.step == steps || written.elapsed() > STATE_INTERVAL {
                self.files.write_state(&self.trainer)?;
                written = Instant::now();
                // The last one is written after the LoRA, which matters more.
                if step.step < steps {
                    self.write_chart(&log)?;
                }
            }
            if self.samples.as_ref().is_some_and(|samples| samples.are_due(step.step, steps)) {
                self.draw_samples(step.step)?;
            }
        }
        drop(progress);
        self.files.write_output(&self.trainer)?;
        self.verbosity.note(format_args!("wrote {} ({} steps)", self.files.output.display(), self.trainer.steps()));
        self.write_chart(&log)
    }

    fn write_chart(&self, log: &Log) -> Result<(), Box<dyn Error>> {
        self.arguments.output.chart.as_deref().map_or(Ok(()), |path| write_chart(path, log.steps()))
    }

    fn draw_samples(&mut self, step: usize) -> Result<(), Box<dyn Error>> {
        let Some(samples) = &self.samples else { return Ok(()) };
        if !self.assistant.is_empty() {
            self.pipeline.patch_weights(self.trainer.patches(ComponentPatches::new()), PatchMode::Attach)?;
        }
        let folder = samples.draw(self.pipeline, self.text_encoders, step)?;
        self.verbosity.note(format_args!("drew sample pictures of step {step} in {}", folder.display()));
        if !self.assistant.is_empty() {
            self.pipeline.patch_weights(self.trainer.patches(self.assistant.clone()), PatchMode::Attach)?;
        }
        Ok(())
    }

    /// The error, and what is left of the run.
    fn explained(&self, error: TrainError) -> Box<dyn Error> {
        let TrainError::NotFinite { .. } = &error else { return error.into() };
        let state: &Path = &self.files.state();
        let last = if state.exists() {
            format!("{} holds the run as it was when it was last saved, and is left as it is", state.display())
        } else {
            "nothing was saved yet".to_owned()
        };
        format!("{error}\n{last}; begin again (--restart) with a lower --learning-rate or --max-grad-norm").into()
    }
}
