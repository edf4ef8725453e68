//! The worker of a process, as the others see it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{PgPool, Row};
use tokio::sync::Notify;
use uuid::Uuid;

use super::claim::{Claim, claim};
use super::end::{deliver, fail, hand_back};
use super::processes::{KnownWorker, Process, Told, loaded_on, workers};
use crate::jobs::{JobError, JobState, LiveJob, Loaded, MOST_ATTEMPTS, Needs, Speeds, Status, StoreError, StoredJob, WorkKey};
use crate::refusal::Causes;
use crate::registry::Registry;

/// The worker of a process: what it draws, and what it tells.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) pool: PgPool,
    pub(super) process: Process,
    pub(super) timeout: Duration,
    registry: Arc<Registry>,
    state: Mutex<State>,
    /// Something may be there to draw.
    pub(super) wake: Notify,
    is_closed: AtomicBool,
    /// Whether the database knows this worker and what it has loaded.
    is_told: AtomicBool,
}

#[derive(Debug)]
struct State {
    told: Told,
    speeds: Speeds,
    current: Option<Arc<LiveJob>>,
    /// On how many other workers models are loaded, and when that was asked.
    elsewhere: (HashMap<Arc<str>, usize>, Option<Instant>),
}

/// Without a word from anybody, the queue is looked at so often.
const POLL: Duration = Duration::from_secs(5);
/// A database that does not answer is asked again after so long.
const RETRY: Duration = Duration::from_millis(500);
/// What others have loaded is asked so often.
const ELSEWHERE: Duration = Duration::from_secs(2);

impl Desk {
    /// A worker with these models, which may take so many bytes.
    pub(super) fn new(
        pool: PgPool,
        process: Process,
        timeout: Duration,
        registry: Arc<Registry>,
        memory: Option<usize>,
        speeds: Speeds,
    ) -> Self {
        let bytes = |model: &crate::registry::ModelEntry| {
            model.checker().plan(&model.defaults, 1).on(&model.options.device).peak_streamed as u64
        };
        let models = registry.models().iter().map(|model| (model.name.clone(), bytes(model))).collect();
        // Where nobody tells how much memory there is, every model may fit.
        let told = Told { memory: memory.map_or(u64::MAX, |bytes| bytes as u64), models, loaded: Vec::new() };
        let state = State { told, speeds, current: None, elsewhere: (HashMap::new(), None) };
        Self {
            pool,
            process,
            timeout,
            registry,
            state: Mutex::new(state),
            wake: Notify::new(),
            is_closed: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job that is drawn.
    pub(super) fn current(&self) -> Option<Arc<LiveJob>> {
        self.lock().current.clone()
    }

    /// Take no more jobs.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// What the worker has in memory; whether it is something else than before.
    fn set_loaded(&self, loaded: Loaded) -> bool {
        let names = |needs: Needs| (needs.model.to_string(), needs.loras.to_string());
        let loaded: Vec<_> = loaded.needs.into_iter().map(names).collect();
        let mut state = self.lock();
        let is_new = state.told.loaded != loaded;
        state.told.loaded = loaded;
        is_new
    }

    /// Say that the worker is there, and whether anybody wants its job to stop.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let told = self.lock().told.clone();
        self.process.beat_as_worker(&self.pool, &told).await?;
        self.look_at_current().await
    }

    /// Stop drawing what was cancelled, or was finished by another worker.
    pub(super) async fn look_at_current(&self) -> Result<(), StoreError> {
        const SELECT: &str =
            "SELECT is_cancelled OR status <> 'running' OR worker IS DISTINCT FROM $2 FROM studio.jobs WHERE id = $1";
        let Some(current) = self.current() else { return Ok(()) };
        let row = sqlx::query(SELECT).bind(current.job.id).bind(&self.process.id).fetch_optional(&self.pool).await?;
        let is_over = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(true);
        if is_over {
            current.cancel();
        }
        Ok(())
    }

    /// The next job; `None` when the worker was closed.
    pub(super) async fn next(&self, loaded: Loaded) -> Option<Arc<LiveJob>> {
        if self.set_loaded(loaded) {
            self.is_told.store(false, Ordering::Relaxed);
        }
        while !self.is_closed.load(Ordering::Relaxed) {
            let wait = match self.try_next().await {
                Ok(Claim::Took(stored, needs)) => match self.begin(*stored, &needs).await {
                    Some(job) => return Some(job),
                    None => continue,
                },
                Ok(Claim::Leave(time)) => time.min(POLL),
                Ok(Claim::Nothing) => POLL,
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), "the queue cannot be asked");
                    self.is_told.store(false, Ordering::Relaxed);
                    RETRY
                }
            };
            let _ = tokio::time::timeout(wait, self.wake.notified()).await;
        }
        None
    }

    async fn try_next(&self) -> Result<Claim, StoreError> {
        if !self.is_told.load(Ordering::Relaxed) {
            // The queue gives nothing to whom it does not know, and others place jobs by what is told.
            self.beat().await?;
            self.hand_back_strays().await?;
            self.is_told.store(true, Ordering::Relaxed);
        }
        let is_old = self.lock().elsewhere.1.is_none_or(|asked| asked.elapsed() > ELSEWHERE);
        if is_old {
            let others = workers(&self.pool, self.timeout).await?;
            let others: Vec<KnownWorker> = others.into_iter().filter(|worker| worker.id != self.process.id).collect();
            self.lock().elsewhere = (loaded_on(&others), Some(Instant::now()));
        }
        let (state, elsewhere) = {
            let inner = self.lock();
            (inner.told.state(&inner.speeds), inner.elsewhere.0.clone())
        };
        claim(&self.pool, &self.process.id, &state, &elsewhere).await
    }

    /// Jobs that this worker has, as the database knows it, and does not draw: its connection broke before it heard of them, or their end could not
    /// be stored.
    async fn hand_back_strays(&self) -> Result<(), StoreError> {
        const SELECT: &str = "SELECT id, attempts FROM studio.jobs WHERE worker = $1 AND status = 'running'";
        for row in sqlx::query(SELECT).bind(&self.process.id).fetch_all(&self.pool).await? {
            let (id, attempts): (Uuid, i32) = (row.try_get("id")?, row.try_get("attempts")?);
            tracing::warn!(job = %id, attempts, "a job of this worker that it does not draw goes back");
            if attempts as u32 >= MOST_ATTEMPTS {
                fail(&mut *self.pool.acquire().await?, id, &JobError::crashed(attempts as u32)).await?;
            } else {
                hand_back(&self.pool, &self.process.id, id, true).await?;
            }
        }
        Ok(())
    }

    /// The job that was taken, unless it cannot be drawn as it was asked for: files under one name may differ between machines.
    async fn begin(&self, stored: StoredJob, needs: &Needs) -> Option<Arc<LiveJob>> {
        let job = Arc::new(stored.live());
        let own = job.job.drawing.needs(&self.registry);
        let problem = match own {
            Ok(own) if own == *needs => None,
            Ok(_) => Some(format!(
                "a LoRA of this job is another file on the worker {}; give all machines the same files",
                self.process.name
            )),
            Err(problem) => Some(format!("{problem}, on the worker {}", self.process.name)),
        };
        if let Some(problem) = problem {
            let mut ended = job.state();
            ended.end(Status::Failed, Some(JobError::new("lora", problem)));
            self.deliver(&job, &ended).await;
            return None;
        }
        tracing::info!(job = %job.job.id, attempt = job.state().attempts, "begun");
        self.lock().current = Some(job.clone());
        Some(job)
    }

    /// Store how a job ended, as soon as the database takes it.
    pub(super) async fn ended(&self, job: &LiveJob, ended: &JobState, loaded: Loaded) {
        self.set_loaded(loaded);
        self.deliver(job, ended).await;
        self.lock().current = None;
    }

    async fn deliver(&self, job: &LiveJob, ended: &JobState) {
        let store = || deliver(&self.pool, &self.process.id, job.job.id, ended);
        self.until_stored(job.job.id, store).await;
    }

    /// Put a job back, as soon as the database takes it.
    pub(super) async fn hand_back(&self, job: &LiveJob, counts: bool) {
        let store = || hand_back(&self.pool, &self.process.id, job.job.id, counts);
        self.until_stored(job.job.id, store).await;
        self.lock().current = None;
    }

    /// Try again for as long as the database does not answer.
    async fn until_stored<F: Future<Output = Result<(), StoreError>>>(&self, id: Uuid, store: impl Fn() -> F) {
        loop {
            match store().await {
                Ok(()) => return,
                Err(error @ (StoreError::Unreachable(_) | StoreError::Full)) => {
                    tracing::warn!(job = %id, error = %Causes(&error), "what has come of a job is kept until the database takes it");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(job = %id, error = %Causes(&error), "what has come of a job could not be stored");
                    self.is_told.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Take in how long work took; what is remembered of it now.
    pub(super) fn measured(&self, key: &WorkKey, seconds: f64) -> f64 {
        self.lock().speeds.measured(key, seconds)
    }
}
