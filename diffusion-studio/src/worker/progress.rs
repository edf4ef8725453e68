//! What a pipeline tells, as the progress of a job.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffusion_core::{LatentRgb, SamplerStep};
use diffusion_models::Event;

use crate::jobs::{LiveJob, Preview, Progress, Stage, WorkKey};
use crate::studio::Studio;

/// Previews come at most so often.
const BETWEEN_PREVIEWS: Duration = Duration::from_millis(200);
/// A shorter step is measured with those around it.
const NEVER: Option<Instant> = None;

/// Turns what a pipeline tells into the progress of a job, and stops it where it shall.
pub(super) struct Reporter<'a> {
    studio: &'a Studio,
    job: &'a LiveJob,
    colors: Option<&'a LatentRgb>,
    stage: Stage,
    image: usize,
    last_step: Option<Instant>,
    last_preview: Option<Instant>,
    /// Seconds of loading.
    pub(super) loading: f64,
    loading_since: Option<Instant>,
    /// Seconds of steps, and how many there were.
    pub(super) steps: (f64, usize),
    /// What encoders did not see.
    pub(super) truncated: Vec<String>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(studio: &'a Studio, job: &'a LiveJob, colors: Option<&'a LatentRgb>) -> Self {
        Self {
            studio,
            job,
            colors,
            stage: Stage::Load,
            image: 1,
            last_step: NEVER,
            last_preview: NEVER,
            loading: 0.0,
            loading_since: NEVER,
            steps: (0.0, 0),
            truncated: Vec::new(),
        }
    }

    /// A stage of an image begins.
    pub(super) fn begin(&mut self, stage: Stage, image: usize) {
        self.end_loading();
        (self.stage, self.image) = (stage, image);
        (self.last_step, self.last_preview) = (NEVER, NEVER);
        self.report(stage, |_| {});
        if stage == Stage::Sample {
            self.last_step = Some(Instant::now());
        }
    }

    /// Take in an event.
    pub(super) fn take(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Loading { component, done, total, .. } => {
                self.loading_since.get_or_insert_with(Instant::now);
                self.report(Stage::Load, |progress| {
                    progress.component = Some(component.name().to_owned());
                    (progress.done, progress.total) = (done, total);
                });
                if done >= total {
                    self.end_loading();
                    let stage = self.stage;
                    self.report(stage, |_| {});
                    self.last_step = (stage == Stage::Sample).then(Instant::now);
                }
            }
            Event::Encoded { truncated, .. } => self.truncated.extend(truncated.iter().map(ToString::to_string)),
            Event::Step(step) => self.step(&step),
            _ => {}
        }
        self.flow()
    }

    /// Whether to go on.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        if self.job.is_cancelled() || self.studio.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn step(&mut self, step: &SamplerStep) {
        let now = Instant::now();
        if let Some(last) = self.last_step.replace(now) {
            let seconds = (now - last).as_secs_f64();
            self.steps = (self.steps.0 + seconds, self.steps.1 + 1);
            metrics::histogram!("studio_step_seconds", "model" => self.job.job.drawing.model.clone()).record(seconds);
        }
        let per_step = (self.steps.1 > 0).then(|| self.steps.0 / self.steps.1 as f64);
        let preview = self.preview(step, now);
        let (number, all) = (step.index + 1, step.num_steps);
        self.report(Stage::Sample, |progress| {
            (progress.step, progress.steps, progress.seconds_per_step) = (number, all, per_step);
        });
        if let Some(preview) = preview {
            self.job.change(|state| state.preview = Some(preview));
        }
    }

    /// Latents are read back only where somebody looks.
    fn preview(&mut self, step: &SamplerStep, now: Instant) -> Option<Arc<Preview>> {
        let colors = self.colors.filter(|_| self.job.is_watched())?;
        if self.last_preview.is_some_and(|last| now - last < BETWEEN_PREVIEWS) && step.index + 1 < step.num_steps {
            return None;
        }
        self.last_preview = Some(now);
        let picture = colors.images(step.denoised.clone()).into_iter().next()?;
        Some(Arc::new(Preview { step: step.index + 1, image: self.image, picture }))
    }

    fn report(&self, stage: Stage, fill: impl FnOnce(&mut Progress)) {
        let drawing = &self.job.job.drawing;
        let before = self.job.state().progress;
        let mut progress = Progress {
            stage,
            component: None,
            done: 0,
            total: 0,
            image: self.image,
            images: drawing.seeds.len(),
            step: 0,
            steps: crate::jobs::steps(drawing),
            seconds_per_step: None,
        };
        // Decoding and what is between keep the last step in sight.
        if let Some(before) = before.filter(|before| before.image == self.image) {
            (progress.step, progress.steps, progress.seconds_per_step) = (before.step, before.steps, before.seconds_per_step);
        }
        fill(&mut progress);
        self.job.change(|state| state.progress = Some(progress));
    }

    fn end_loading(&mut self) {
        if let Some(since) = self.loading_since.take() {
            self.loading += since.elapsed().as_secs_f64();
        }
    }

    /// Remember how long work took.
    pub(super) fn measured(&self, key: &WorkKey, seconds: f64) {
        self.studio.jobs().measured(key, seconds);
    }
}
