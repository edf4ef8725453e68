//! The jobs of one process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::estimate::{Speeds, WorkKey};
use super::forecast::Loaded;
use super::job::LiveJob;
use super::keeper::{Added, HistoryPage, JobKeeper, MOST_ATTEMPTS, NewJob, StoreError, StoredJob};
use super::queue::Queue;
use super::sqlite::SqliteJobs;
use super::state::{JobError, JobState, Status};
use crate::clock;
use crate::refusal::Causes;

/// The jobs of one process: those that wait in memory, and all of them in a file.
#[derive(Debug)]
pub(crate) struct LocalJobs {
    queue: Arc<Queue>,
    store: SqliteJobs,
    /// One new job at a time: what it finds stays so until it is stored.
    adding: tokio::sync::Mutex<()>,
    runtime: Handle,
}

impl LocalJobs {
    /// The jobs in a file. Those that waited or ran when the program ended are taken up; those that ended longer ago than `kept`
    /// are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn open(path: &Path, queue: Arc<Queue>, kept: Duration) -> Result<Self, StoreError> {
        let store = SqliteJobs::open(path).await?;
        queue.set_speeds(Speeds::new(store.speeds().await?));
        store.forget_before(clock::now() - kept.as_secs_f64()).await?;
        let jobs = Self { queue, store, adding: tokio::sync::Mutex::new(()), runtime: Handle::current() };
        jobs.take_up().await?;
        Ok(jobs)
    }

    /// Take up the jobs that waited or ran when the program ended.
    async fn take_up(&self) -> Result<(), StoreError> {
        for StoredJob { job, place, mut state, .. } in self.store.unfinished().await? {
            let was_running = state.status == Status::Running;
            tracing::info!(job = %job.id, was_running, attempts = state.attempts, "a job is taken up again");
            state.status = Status::Queued;
            state.images.clear();
            if was_running && state.attempts >= MOST_ATTEMPTS {
                state.end(Status::Failed, Some(JobError::crashed(state.attempts)));
            }
            let live = Arc::new(LiveJob::new(job, place, state));
            self.store.update(&live.job.id, &live.state()).await?;
            if live.status() == Status::Queued {
                self.queue.insert(&live);
            }
        }
        Ok(())
    }

    /// Store what has become of a job. If that fails, the job goes on.
    async fn keep(&self, id: &Uuid, state: &JobState) {
        if let Err(error) = self.store.update(id, state).await {
            tracing::error!(job = %id, error = %Causes(&error), "a job could not be stored");
        }
    }
}

#[async_trait]
impl JobKeeper for LocalJobs {
    async fn add(&self, new: NewJob) -> Result<Added, StoreError> {
        let NewJob { job, state, idempotency, room, .. } = new;
        let _adding = self.adding.lock().await;
        if let Some(idempotency) = &idempotency
            && let Some(stored) = self.store.find_by_key(&job.owner, &idempotency.key).await?
        {
            let digest = stored.request_digest.clone();
            let live = self.queue.find(&stored.job.id).unwrap_or_else(|| Arc::new(stored.live()));
            return Ok(Added::Repeated(live, digest));
        }
        let waits = state.status == Status::Queued;
        if waits && let Some(full) = room.full(self.queue.len(), self.queue.len_of(&job.user)) {
            return Ok(full);
        }
        let place = self.queue.place_of_next(&job.user);
        self.store.insert(&job, place, &state, idempotency.as_ref()).await?;
        let live = Arc::new(LiveJob::new(job, place, state));
        if waits {
            self.queue.insert(&live);
        }
        Ok(Added::New(live))
    }

    async fn cancel(&self, job: &Arc<LiveJob>) -> Result<(), StoreError> {
        job.cancel();
        if self.queue.take_out(job) {
            job.change(|state| state.end(Status::Cancelled, None));
            job.count_end();
            self.keep(&job.job.id, &job.state()).await;
        }
        Ok(())
    }

    async fn find(&self, id: &Uuid) -> Result<Option<Arc<LiveJob>>, StoreError> {
        if let Some(live) = self.queue.find(id) {
            return Ok(Some(live));
        }
        Ok(self.store.find(id).await?.map(|stored| Arc::new(stored.live())))
    }

    async fn find_by_picture(&self, key: &str, owner: Option<&str>) -> Result<Option<StoredJob>, StoreError> {
        self.store.find_by_picture(key, owner).await
    }

    async fn history(&self, owner: &str, page: HistoryPage) -> Result<Vec<StoredJob>, StoreError> {
        self.store.history(owner, page).await
    }

    async fn remove(&self, id: &Uuid) -> Result<(), StoreError> {
        self.store.remove(id).await
    }

    async fn uses_picture(&self, file: &str) -> Result<bool, StoreError> {
        self.store.uses_picture(file).await
    }

    fn next(&self, loaded: Loaded) -> Option<Arc<LiveJob>> {
        self.queue.set_loaded(loaded);
        let job = self.queue.next()?;
        job.change(JobState::begin);
        self.runtime.block_on(self.keep(&job.job.id, &job.state()));
        Some(job)
    }

    fn ended(&self, job: &Arc<LiveJob>, ended: JobState, loaded: Loaded) {
        self.runtime.block_on(self.keep(&job.job.id, &ended));
        self.queue.set_loaded(loaded);
        self.queue.ended(&job.job.id);
        job.change(|state| *state = ended);
        job.count_end();
    }

    fn hand_back(&self, job: &Arc<LiveJob>, counts: bool) {
        job.change(|state| state.wait_again(counts));
        self.runtime.block_on(self.keep(&job.job.id, &job.state()));
        self.queue.hand_back(job);
    }

    fn measured(&self, key: &WorkKey, seconds: f64) {
        let remembered = self.queue.measured(key, seconds);
        let (store, key) = (self.store.clone(), key.clone());
        self.runtime.spawn(async move {
            if let Err(error) = store.set_speed(key.name(), remembered).await {
                tracing::warn!(%error, "a measurement could not be stored");
            }
        });
    }

    fn close_worker(&self) {
        self.queue.close();
    }

    fn is_ready(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
