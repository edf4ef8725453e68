//! A job.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use uuid::Uuid;

use super::order::Place;
use super::state::{JobState, Status};
use crate::request::Drawing;

/// What is known of a job from the beginning.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name, which nobody can guess.
    pub id: Uuid,
    /// Who may see and cancel it.
    pub owner: String,
    /// With whom it takes turns.
    pub user: String,
    /// What is drawn.
    pub drawing: Drawing,
    /// What tells its pixels from all others.
    pub key: String,
    /// When it was asked for, in seconds since 1970.
    pub queued_at: f64,
    /// Whether it ends with the connection that asked for it.
    pub is_attached: bool,
}

/// A job that waits or runs.
#[derive(Debug)]
pub struct LiveJob {
    /// What is known of it.
    pub job: Job,
    /// Its place in the order.
    pub place: Place,
    state: watch::Sender<JobState>,
    cancelled: AtomicBool,
    /// Somebody watches from another process, until then.
    watched_until: Mutex<Option<Instant>>,
}

impl LiveJob {
    pub(crate) fn new(job: Job, place: Place, state: JobState) -> Self {
        Self { job, place, state: watch::Sender::new(state), cancelled: AtomicBool::new(false), watched_until: Mutex::new(None) }
    }

    /// What has become of it.
    pub fn state(&self) -> JobState {
        self.state.borrow().clone()
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        self.state.borrow().status
    }

    /// What becomes of it from now on. Who reads slowly misses what is between.
    pub fn watch(&self) -> watch::Receiver<JobState> {
        self.state.subscribe()
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        let until = *self.watched_until.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.receiver_count() > 0 || until.is_some_and(|until| Instant::now() < until)
    }

    /// Somebody watches from another process, until then.
    pub(crate) fn watch_until(&self, time: Instant) {
        *self.watched_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
    }

    /// Change what has become of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut JobState)) {
        self.state.send_modify(change);
    }

    /// Count how it ended.
    pub(crate) fn count_end(&self) {
        let state = self.state();
        metrics::counter!("studio_jobs", "status" => state.status.name()).increment(1);
        if let Some((started, finished)) = state.started_at.zip(state.finished_at) {
            metrics::histogram!("studio_job_wait_seconds").record(started - self.job.queued_at);
            metrics::histogram!("studio_job_run_seconds").record(finished - started);
        }
    }

    /// Ask whoever draws it to stop.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
