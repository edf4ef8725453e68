//! When each job will be finished.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::estimate::{Speeds, WorkKey};
use super::job::LiveJob;
use super::placement::Needs;
use super::state::Stage;
use crate::request::{Drawing, LoraUse};

/// What is expected of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Jobs before it, the running one included.
    pub ahead: usize,
    /// Seconds until it starts, if all before it was measured.
    pub wait: Option<f64>,
    /// Seconds until it is finished.
    pub eta: Option<f64>,
}

/// When each job will be finished, as far as measurements tell.
#[derive(Clone, Debug)]
pub(crate) struct Forecast {
    made: Instant,
    jobs: HashMap<Uuid, Expected>,
    all: Option<f64>,
}

/// What a worker has in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Models that are loaded.
    pub(crate) models: Vec<String>,
    /// The LoRAs of the model that was used last.
    pub(crate) applied: Option<(String, Vec<LoraUse>)>,
    /// Each model with what is applied to it, where that is known.
    pub(crate) needs: Vec<Needs>,
}

impl Forecast {
    /// The forecast for a running job and those that wait, in their order.
    pub(crate) fn new<'a>(
        speeds: &Speeds,
        mut loaded: Loaded,
        running: Option<&Arc<LiveJob>>,
        waiting: impl Iterator<Item = &'a Arc<LiveJob>>,
    ) -> Self {
        let mut jobs = HashMap::new();
        let mut clock = Some(0.0);
        let mut ahead = 0;
        if let Some(job) = running {
            clock = seconds_left(speeds, job);
            jobs.insert(job.job.id, Expected { ahead: 0, wait: Some(0.0), eta: clock });
            loaded.took(&job.job.drawing);
            ahead = 1;
        }
        for job in waiting {
            let drawing = &job.job.drawing;
            let wait = clock;
            clock = clock.zip(loaded.seconds_before(speeds, drawing)).zip(speeds.drawing(drawing)).map(|((a, b), c)| a + b + c);
            loaded.took(drawing);
            jobs.insert(job.job.id, Expected { ahead, wait, eta: clock });
            ahead += 1;
        }
        Self { made: Instant::now(), jobs, all: clock }
    }

    /// The forecast for jobs that several workers draw.
    pub(crate) fn of_fleet(jobs: HashMap<Uuid, Expected>, all: Option<f64>) -> Self {
        Self { made: Instant::now(), jobs, all }
    }

    /// What is expected of a job now.
    pub(crate) fn of(&self, id: &Uuid) -> Option<Expected> {
        let passed = self.age();
        let left = |seconds: Option<f64>| seconds.map(|seconds| (seconds - passed).max(0.0));
        let Expected { ahead, wait, eta } = *self.jobs.get(id)?;
        Some(Expected { ahead, wait: left(wait), eta: left(eta) })
    }

    /// Seconds until all are finished.
    pub(crate) fn all(&self) -> Option<f64> {
        self.all.map(|seconds| (seconds - self.age()).max(0.0))
    }

    /// Seconds since it was made.
    pub(crate) fn age(&self) -> f64 {
        self.made.elapsed().as_secs_f64()
    }
}

impl Loaded {
    /// A drawing was begun.
    fn took(&mut self, drawing: &Drawing) {
        if !self.models.contains(&drawing.model) {
            self.models.push(drawing.model.clone());
        }
        self.applied = Some((drawing.model.clone(), drawing.loras.clone()));
    }

    /// Seconds of loading and switching before a drawing; `None` if they are not known.
    fn seconds_before(&self, speeds: &Speeds, drawing: &Drawing) -> Option<f64> {
        let model = &drawing.model;
        if !self.models.contains(model) {
            return speeds.get(&WorkKey::load(model));
        }
        let is_applied = match &self.applied {
            Some((applied, loras)) if applied == model => *loras == drawing.loras,
            _ => drawing.loras.is_empty(),
        };
        // Until it was measured, it counts for nothing: it is short beside a drawing.
        Some(if is_applied { 0.0 } else { speeds.get(&WorkKey::switch(model)).unwrap_or(0.0) })
    }
}

/// Seconds that are left of a running job.
pub(crate) fn seconds_left(speeds: &Speeds, job: &LiveJob) -> Option<f64> {
    let drawing = &job.job.drawing;
    let state = job.state();
    let Some(progress) = &state.progress else { return speeds.drawing(drawing) };
    let left = speeds.remaining(drawing, progress.image.saturating_sub(1), progress.step)?;
    if progress.stage != Stage::Load || progress.image > 1 {
        return Some(left);
    }
    let load = speeds.get(&WorkKey::load(&drawing.model))?;
    Some(left + load * (1.0 - progress.done as f64 / progress.total.max(1) as f64))
}
