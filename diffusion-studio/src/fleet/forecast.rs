//! When each job will be finished, with several workers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock;
use crate::jobs::{Expected, FleetOrder, LiveJob, Needs, Offer, Patience, Speeds, Taken, WorkerState, seconds_left};

/// A worker as those see it who wait.
#[derive(Clone, Debug)]
pub(crate) struct FleetWorker {
    pub(crate) state: WorkerState,
    pub(crate) speeds: Speeds,
}

/// What a drawing counts for whose time nobody knows, so that there is an order at least.
const UNKNOWN: Duration = Duration::from_secs(10);
/// More jobs than are waited for in order one by one.
const MANY: usize = 5_000;
/// Times before now have to be told, too.
const NOW: Duration = Duration::from_hours(24 * 365);

/// A worker that will be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Free {
    at: Reverse<Duration>,
    worker: usize,
    /// Whether the time is known, not guessed.
    is_known: bool,
}

/// What is expected of jobs that run and wait, and when all are finished: the workers take jobs as they really do.
pub(crate) fn fleet_forecast<'a>(
    workers: &[FleetWorker],
    speeds: &Speeds,
    running: &[Arc<LiveJob>],
    waiting: impl Iterator<Item = &'a Arc<LiveJob>>,
) -> (HashMap<Uuid, Expected>, Option<f64>) {
    let mut jobs = HashMap::new();
    let mut free: BinaryHeap<Free> = BinaryHeap::new();
    let mut all = Some(0.0_f64);
    for (index, job) in running.iter().enumerate() {
        let left = seconds_left(speeds, job);
        jobs.insert(job.job.id, Expected { ahead: 0, wait: Some(0.0), eta: left });
        all = all.zip(left).map(|(all, left)| all.max(left));
        // Which worker draws it hardly matters to those who wait.
        if index < workers.len() {
            let at = NOW + left.and_then(|left| Duration::try_from_secs_f64(left).ok()).unwrap_or(UNKNOWN);
            free.push(Free { at: Reverse(at), worker: index, is_known: left.is_some() });
        }
    }
    free.extend((running.len()..workers.len()).map(|worker| Free { at: Reverse(NOW), worker, is_known: true }));
    let mut states: Vec<WorkerState> = workers.iter().map(|worker| worker.state.clone()).collect();
    let waiting: Vec<&Arc<LiveJob>> = waiting.collect();
    let mut order = order_of(&states, &waiting);
    let mut ahead = running.len();
    while let Some(Free { at: Reverse(at), worker, is_known }) = free.pop() {
        let Taken { job, .. } = match order.take(&states[worker], at) {
            Offer::Take(taken) => taken,
            Offer::Leave(time) => {
                free.push(Free { at: Reverse(at + time.max(Duration::from_millis(1))), worker, is_known });
                continue;
            }
            Offer::Nothing => continue,
        };
        let needs = needs_of(&job);
        let before = states[worker].effort(&needs).map_or(Duration::ZERO, |(_, cost)| cost);
        let drawing = workers[worker].speeds.drawing(&job.job.drawing);
        let takes = drawing.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let end = at + before + takes.unwrap_or(UNKNOWN);
        let wait = is_known.then(|| at.saturating_sub(NOW).as_secs_f64());
        let is_known = is_known && takes.is_some();
        let eta = is_known.then(|| end.saturating_sub(NOW).as_secs_f64());
        jobs.insert(job.job.id, Expected { ahead, wait, eta });
        all = all.zip(eta).map(|(all, eta)| all.max(eta));
        ahead += 1;
        load(&mut states[worker], needs);
        free.push(Free { at: Reverse(end), worker, is_known });
    }
    // Nobody is there who could draw these, or there are more than are looked at one by one.
    for job in waiting {
        if let Entry::Vacant(entry) = jobs.entry(job.job.id) {
            entry.insert(Expected { ahead, wait: None, eta: None });
            (ahead, all) = (ahead + 1, None);
        }
    }
    (jobs, all)
}

/// The jobs that wait, in their order.
fn order_of(workers: &[WorkerState], waiting: &[&Arc<LiveJob>]) -> FleetOrder<Arc<LiveJob>> {
    let mut order = FleetOrder::new(Patience::default());
    let now = clock::now();
    for &job in waiting.iter().take(MANY) {
        let waited = Duration::try_from_secs_f64((now - job.job.queued_at).max(0.0)).unwrap_or_default();
        order.insert(&job.job.user, &needs_of(job), job.place, NOW.saturating_sub(waited), job.clone());
    }
    let mut loaded: HashMap<&Arc<str>, usize> = HashMap::new();
    for needs in workers.iter().flat_map(|worker| &worker.loaded) {
        *loaded.entry(&needs.model).or_default() += 1;
    }
    for (model, count) in loaded {
        order.set_loaded(model, count);
    }
    order
}

/// What a job needs, about: what tells the contents of LoRAs is not known here.
fn needs_of(job: &LiveJob) -> Needs {
    let drawing = &job.job.drawing;
    let loras: Vec<String> = drawing.loras.iter().map(|lora| format!("{}:{}", lora.name, lora.weight)).collect();
    Needs { model: drawing.model.as_str().into(), loras: loras.join(",").into() }
}

/// A worker has loaded this; what it has no more room for is gone.
fn load(worker: &mut WorkerState, needs: Needs) {
    let bytes =
        |worker: &WorkerState, model: &str| worker.models.iter().find(|cost| *cost.model == *model).map_or(0, |cost| cost.bytes);
    worker.loaded.retain(|loaded| loaded.model != needs.model);
    worker.loaded.push(needs);
    while worker.loaded.len() > 1
        && worker.loaded.iter().map(|loaded| bytes(worker, &loaded.model)).fold(0_u64, u64::saturating_add) > worker.memory
    {
        worker.loaded.remove(0);
    }
}
