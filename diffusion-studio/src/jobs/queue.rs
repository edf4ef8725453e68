//! The jobs that wait and the one that runs.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::estimate::{Speeds, WorkKey};
use super::forecast::{Forecast, Loaded};
use super::job::LiveJob;
use super::order::{FairOrder, Place};
use crate::fleet::{FleetWorker, fleet_forecast};

/// A forecast is made anew after this many seconds, or when the queue changes.
const FORECAST_SECONDS: f64 = 0.5;

/// The jobs that wait and the one that runs, shared by the server and its worker.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// Wakes the worker.
    work: Condvar,
    /// Counts changes, for those who watch positions.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    order: FairOrder<Arc<LiveJob>>,
    live: HashMap<Uuid, Arc<LiveJob>>,
    /// In the order in which they were begun; one, where there is one worker.
    running: Vec<Arc<LiveJob>>,
    is_closed: bool,
    speeds: Speeds,
    loaded: Loaded,
    /// Whether other processes share the queue, and who draws then.
    is_shared: bool,
    workers: Vec<FleetWorker>,
    forecast: Option<Arc<Forecast>>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            order: FairOrder::new(),
            live: HashMap::new(),
            running: Vec::new(),
            is_closed: false,
            speeds: Speeds::default(),
            loaded: Loaded::default(),
            is_shared: false,
            workers: Vec::new(),
            forecast: None,
        };
        Self { inner: Mutex::new(inner), work: Condvar::new(), changes: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is whole before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.forecast = None;
        metrics::gauge!("studio_queue_waiting").set(inner.order.len() as f64);
        drop(inner);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The place that the next job of a user would get.
    pub(crate) fn place_of_next(&self, user: &str) -> Place {
        self.lock().order.place_of_next(user)
    }

    /// Put a job into its place.
    pub(crate) fn insert(&self, live: &Arc<LiveJob>) {
        let mut inner = self.lock();
        inner.order.insert(&live.job.user, live.place, live.clone());
        inner.live.insert(live.job.id, live.clone());
        self.changed(inner);
        self.work.notify_one();
    }

    /// The next job, which runs from now on. Waits until there is one; `None` when the queue was closed.
    pub(crate) fn next(&self) -> Option<Arc<LiveJob>> {
        let mut inner = self.lock();
        loop {
            if inner.is_closed {
                return None;
            }
            if let Some((_, job)) = inner.order.pop() {
                inner.running.push(job.clone());
                self.changed(inner);
                return Some(job);
            }
            inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A job that waits is drawn, by whomever.
    pub(crate) fn begun(&self, job: &Arc<LiveJob>) {
        let mut inner = self.lock();
        if inner.order.take(job.place).is_some() {
            inner.running.push(job.clone());
            self.changed(inner);
        }
    }

    /// A job has ended.
    pub(crate) fn ended(&self, id: &Uuid) {
        let mut inner = self.lock();
        if let Some(job) = inner.live.remove(id) {
            inner.running.retain(|running| running.job.id != *id);
            inner.order.remove(job.place);
            self.changed(inner);
        }
    }

    /// A running job goes back to its place.
    pub(crate) fn hand_back(&self, job: &Arc<LiveJob>) {
        self.lock().running.retain(|running| running.job.id != job.job.id);
        self.insert(job);
    }

    /// Give nothing to the worker any more.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_all();
    }

    /// Take a waiting job out; whether it was there.
    pub(crate) fn take_out(&self, job: &LiveJob) -> bool {
        let mut inner = self.lock();
        let was_there = inner.order.remove(job.place).is_some();
        if was_there {
            inner.live.remove(&job.job.id);
            self.changed(inner);
        }
        was_there
    }

    /// A job that waits or runs.
    pub(crate) fn find(&self, id: &Uuid) -> Option<Arc<LiveJob>> {
        self.lock().live.get(id).cloned()
    }

    /// The names of all jobs that wait or run.
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.lock().live.keys().copied().collect()
    }

    /// The jobs that run.
    pub(crate) fn running(&self) -> Vec<Arc<LiveJob>> {
        self.lock().running.clone()
    }

    /// The jobs of an owner that run and wait, in their order.
    pub(crate) fn of_owner(&self, owner: &str) -> Vec<Arc<LiveJob>> {
        let inner = self.lock();
        let all = inner.running.iter().chain(inner.order.iter());
        all.filter(|job| job.job.owner == owner).cloned().collect()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().order.len()
    }

    /// How many of a user wait.
    pub(crate) fn len_of(&self, user: &str) -> usize {
        self.lock().order.len_of(user)
    }

    /// When each job will be finished.
    pub(crate) fn forecast(&self) -> Arc<Forecast> {
        let mut inner = self.lock();
        if let Some(forecast) = inner.forecast.as_ref().filter(|forecast| forecast.age() < FORECAST_SECONDS) {
            return forecast.clone();
        }
        let forecast = Arc::new(if inner.is_shared {
            let (jobs, all) = fleet_forecast(&inner.workers, &inner.speeds, &inner.running, inner.order.iter());
            Forecast::of_fleet(jobs, all)
        } else {
            Forecast::new(&inner.speeds, inner.loaded.clone(), inner.running.first(), inner.order.iter())
        });
        inner.forecast = Some(forecast.clone());
        forecast
    }

    /// Take in a measurement; what is remembered of this work now.
    pub(crate) fn measured(&self, key: &WorkKey, seconds: f64) -> f64 {
        let mut inner = self.lock();
        inner.forecast = None;
        inner.speeds.measured(key, seconds)
    }

    /// Seconds that work takes, as measured.
    pub(crate) fn speeds<T>(&self, ask: impl FnOnce(&Speeds) -> T) -> T {
        ask(&self.lock().speeds)
    }

    /// What was measured before.
    pub(crate) fn set_speeds(&self, speeds: Speeds) {
        self.lock().speeds = speeds;
    }

    /// Who draws, among processes that share the queue.
    pub(crate) fn set_workers(&self, workers: Vec<FleetWorker>) {
        let mut inner = self.lock();
        (inner.is_shared, inner.workers, inner.forecast) = (true, workers, None);
    }

    /// What the worker has in memory.
    pub(crate) fn set_loaded(&self, loaded: Loaded) {
        self.lock().loaded = loaded;
    }

    /// Models that the worker has in memory.
    pub(crate) fn loaded_models(&self) -> Vec<String> {
        self.lock().loaded.models.clone()
    }

    /// A number that grows with every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
