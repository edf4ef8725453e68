//! The server behind its protocols.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diffusion_app::digest::Digest;
use diffusion_app::memory::available_memory;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::caches::FileCache;
use crate::clock;
use crate::config::StudioConfig;
use crate::jobs::{
    Attachment, Expected, Idempotency, Job, JobError, JobHandle, JobImage, JobState, JobStore, Lifetime, LiveJob, Queue, Speeds,
    Status, StoreError, StoredJob,
};
use crate::refusal::{Causes, Refusal, RefusalKind};
use crate::registry::{LoraList, OpenModelError, Registry};
use crate::request::{Drawing, Inputs, JobRequest, Resolved, resolve};
use crate::security::{Caller, JobRates, Secret};
use crate::worker;

/// A server behind its protocols: what they all stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Studio {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: StudioConfig,
    registry: Registry,
    queue: Queue,
    store: JobStore,
    inputs: Inputs,
    pictures: FileCache,
    secret: Secret,
    rates: JobRates,
    /// One submission at a time: what it finds stays so until it is stored.
    submitting: tokio::sync::Mutex<()>,
    runtime: Handle,
    /// The server takes no more jobs.
    draining: CancellationToken,
    /// The running job stops.
    stopping: CancellationToken,
    /// The server answers no more.
    ending: CancellationToken,
    /// The worker has ended.
    worker_ended: CancellationToken,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A model cannot be opened.
    #[error(transparent)]
    Model(#[from] OpenModelError),
    /// Two models have one name.
    #[error("two models are called {0}; give one of them another name")]
    SameName(String),
    /// There is no model.
    #[error("there is no model to draw with")]
    NoModel,
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] diffusion_app::device::DeviceError),
    /// The data folder cannot be used.
    #[error("the folder {} cannot be used", path.display())]
    Data {
        /// The folder.
        path: std::path::PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another server uses the data folder.
    #[error("another studio uses the folder {}; give this one another", path.display())]
    InUse {
        /// The folder.
        path: std::path::PathBuf,
    },
}

/// How a job is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// How long the job lives.
    pub lifetime: Lifetime,
    /// A key by which the caller recognizes the request.
    pub idempotency_key: Option<&'a str>,
}

/// A job that is killed together with its server so often is not begun again.
pub(crate) const MOST_ATTEMPTS: u32 = 2;
/// How long to wait where nobody can tell.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);
/// Longest key of a caller's.
const MAX_IDEMPOTENCY_KEY: usize = 255;

impl Studio {
    /// Open models and data, take up the jobs that were left, and start the worker.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(mut config: StudioConfig) -> Result<Self, StartError> {
        let data = config.data.clone();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StartError::Data { path: data.clone(), source };
        std::fs::create_dir_all(&data).map_err(|error| failed(error.into()))?;
        let lock = lock(&data)?;
        let (registry, mut config) = tokio::task::spawn_blocking(move || {
            let registry = open_registry(&config)?;
            config.limits.memory = config.limits.memory.or_else(|| available_memory(config.device));
            Ok::<_, StartError>((registry, config))
        })
        .await
        .map_err(|error| failed(error.into()))??;
        config.models.clear();
        let folder = |name: &str| FileCache::open(data.join(name), config.cache_size).map_err(|error| failed(error.into()));
        let (pictures, inputs) = (folder("pictures")?, Inputs::new(folder("inputs")?));
        let store = JobStore::open(&data.join("jobs.sqlite")).await.map_err(|error| failed(error.into()))?;
        let secret = Secret::open(&data.join("secret")).map_err(|error| failed(error.into()))?;
        let speeds = store.speeds().await.map_err(|error| failed(error.into()))?;
        let rates = JobRates::new(config.jobs_per_minute);
        let studio = Self {
            inner: Arc::new(Inner {
                registry,
                queue: Queue::new(Speeds::new(speeds)),
                store,
                inputs,
                pictures,
                secret,
                rates,
                submitting: tokio::sync::Mutex::new(()),
                runtime: Handle::current(),
                draining: CancellationToken::new(),
                stopping: CancellationToken::new(),
                ending: CancellationToken::new(),
                worker_ended: CancellationToken::new(),
                config,
            }),
        };
        studio.take_up().await.map_err(|error| failed(error.into()))?;
        worker::start(studio.clone(), lock, studio.inner.worker_ended.clone().drop_guard())
            .map_err(|error| failed(error.into()))?;
        Ok(studio)
    }

    /// Take up the jobs that waited or ran when the program ended.
    async fn take_up(&self) -> Result<(), StoreError> {
        let kept = self.config().keep_jobs.as_secs_f64();
        self.store().forget_before(clock::now() - kept).await?;
        for StoredJob { job, place, mut state, .. } in self.store().unfinished().await? {
            let was_running = state.status == Status::Running;
            tracing::info!(job = %job.id, was_running, attempts = state.attempts, "a job is taken up again");
            state.status = Status::Queued;
            state.images.clear();
            if was_running && state.attempts >= MOST_ATTEMPTS {
                let problem = format!("the server ended {} times while it drew this", state.attempts);
                state.end(Status::Failed, Some(JobError::new("crashed", problem)));
                self.store().update(&LiveJob::new(job, place, state)).await?;
                continue;
            }
            let live = LiveJob::new(job, place, state);
            self.store().update(&live).await?;
            let (job, state) = (live.job.clone(), live.state());
            self.queue().insert(job, place, state);
        }
        Ok(())
    }

    /// Ask for a job.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, request: JobRequest, submission: Submission<'_>) -> Result<JobHandle, Refusal> {
        let Submission { caller, lifetime, idempotency_key } = submission;
        if self.is_draining() {
            let message = "the server is ending; ask the next one";
            return Err(Refusal::new(RefusalKind::ShuttingDown, message).retry_after(Duration::from_secs(5)));
        }
        self.inner.rates.check(caller)?;
        let idempotency = idempotency_key.map(|key| idempotency(key, &request)).transpose()?;
        let Resolved { drawing, warnings } = self.resolve(request).await?;
        let key = self.picture_key(&drawing).await?;

        let submitting = self.inner.submitting.lock().await;
        if let Some(idempotency) = &idempotency
            && let Some(found) = self.repeated(idempotency, caller).await?
        {
            return Ok(self.handle(found, lifetime, true));
        }
        let job = Job {
            id: Uuid::new_v4(),
            owner: caller.owner.clone(),
            user: caller.user.clone(),
            drawing,
            key,
            queued_at: clock::now(),
            is_attached: lifetime == Lifetime::Attached,
        };
        let place = self.queue().place_of_next(&job.user);
        if let Some(images) = self.cached_images(&job).await? {
            let mut state = JobState { cached: true, images, ..JobState::queued(warnings) };
            state.end(Status::Completed, None);
            self.store().insert(&job, place, &state, idempotency.as_ref()).await.map_err(store_refusal)?;
            metrics::counter!("studio_picture_cache_hits").increment(1);
            tracing::info!(job = %job.id, model = job.drawing.model, "answered from the cache");
            return Ok(self.handle(Arc::new(LiveJob::new(job, place, state)), lifetime, false));
        }
        self.check_room(caller)?;
        let state = JobState::queued(warnings);
        self.store().insert(&job, place, &state, idempotency.as_ref()).await.map_err(store_refusal)?;
        let live = self.queue().insert(job, place, state);
        drop(submitting);
        tracing::info!(job = %live.job.id, model = live.job.drawing.model, "queued");
        Ok(self.handle(live, lifetime, false))
    }

    fn handle(&self, job: Arc<LiveJob>, lifetime: Lifetime, is_repeat: bool) -> JobHandle {
        let attachment =
            (lifetime == Lifetime::Attached && !is_repeat).then(|| Attachment { studio: self.clone(), job: job.clone() });
        JobHandle { studio: self.clone(), job, is_repeat, attachment }
    }

    /// Everything that a request leaves open, filled in and checked.
    pub(crate) async fn resolve(&self, request: JobRequest) -> Result<Resolved, Refusal> {
        let studio = self.clone();
        self.blocking(move || resolve(&request, studio.registry(), studio.inputs(), &studio.config().limits)).await?
    }

    /// Run what takes a while beside the server.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::internal(&error))
    }

    /// What tells the pixels and the file of a drawing from all others.
    async fn picture_key(&self, drawing: &Drawing) -> Result<String, Refusal> {
        let (studio, drawing) = (self.clone(), drawing.clone());
        self.blocking(move || studio.picture_key_of(&drawing).map_err(|error| Refusal::internal(&*error))).await?
    }

    fn picture_key_of(&self, drawing: &Drawing) -> Result<String, Box<dyn std::error::Error>> {
        let model = self.registry().model(&drawing.model).ok_or("the model is gone")?;
        let mut digest = Digest::default().with(&model.identity).with(serde_json::to_string(drawing)?);
        for lora in &drawing.loras {
            let entry = self.registry().loras.find(&lora.name).ok_or("the LoRA is gone")?;
            digest = digest.with(entry.digest()?);
        }
        Ok(digest.hex())
    }

    /// The job that the caller asked for before under this key.
    async fn repeated(&self, idempotency: &Idempotency, caller: &Caller) -> Result<Option<Arc<LiveJob>>, Refusal> {
        let found = self.store().find_by_key(&caller.owner, &idempotency.key).await.map_err(store_refusal)?;
        let Some(StoredJob { job, place, state, request_digest }) = found else { return Ok(None) };
        if request_digest.as_ref() != Some(&idempotency.request_digest) {
            let message = "another request was made with this Idempotency-Key; give each request its own";
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        Ok(Some(self.queue().find(&job.id).unwrap_or_else(|| Arc::new(LiveJob::new(job, place, state)))))
    }

    /// The images of an equal job, if they are all there.
    async fn cached_images(&self, job: &Job) -> Result<Option<Vec<JobImage>>, Refusal> {
        let owner = if self.config().shares_cache { None } else { Some(job.owner.as_str()) };
        let found = self.store().find_by_picture(&job.key, owner).await.map_err(store_refusal)?;
        let images = found.map(|found| found.state.images);
        Ok(images.filter(|images| !images.is_empty() && images.iter().all(|image| self.pictures().contains(&image.file))))
    }

    fn check_room(&self, caller: &Caller) -> Result<(), Refusal> {
        let config = self.config();
        let problem = if self.queue().len() >= config.max_queue {
            format!("{} jobs wait, and no more are taken; try again later", config.max_queue)
        } else if self.queue().len_of(&caller.user) >= config.max_queue_per_user {
            format!("{} jobs of yours wait, and no more are taken; try again later", config.max_queue_per_user)
        } else {
            return Ok(());
        };
        metrics::counter!("studio_jobs_refused").increment(1);
        let wait = self.queue().forecast().all().map_or(UNKNOWN_WAIT, Duration::from_secs_f64);
        Err(Refusal::new(RefusalKind::QueueFull, problem).retry_after(wait))
    }

    /// A job of the caller's, whether it lives or has ended.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`] if there is none, or it is somebody else's.
    pub async fn job(&self, id: Uuid, caller: &Caller) -> Result<Arc<LiveJob>, Refusal> {
        let found = match self.queue().find(&id) {
            Some(live) => Some(live),
            None => self.stored_job(&id).await?,
        };
        found.filter(|found| found.job.owner == caller.owner).ok_or_else(Refusal::no_such_job)
    }

    /// A job that has ended.
    pub(crate) async fn stored_job(&self, id: &Uuid) -> Result<Option<Arc<LiveJob>>, Refusal> {
        let stored = self.store().find(id).await.map_err(store_refusal)?;
        Ok(stored.map(|StoredJob { job, place, state, .. }| Arc::new(LiveJob::new(job, place, state))))
    }

    /// Cancel a job of the caller's; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`] if there is none, or it is somebody else's.
    pub async fn cancel(&self, id: Uuid, caller: &Caller) -> Result<Arc<LiveJob>, Refusal> {
        let job = self.job(id, caller).await?;
        self.cancel_job(&job);
        Ok(job)
    }

    /// Cancel a job: at once if it waits, within a step if it runs.
    pub(crate) fn cancel_job(&self, job: &Arc<LiveJob>) {
        job.cancel();
        if self.queue().take_out(job) {
            job.change(|state| state.end(Status::Cancelled, None));
            self.count_ended(job);
            let (studio, job) = (self.clone(), job.clone());
            self.inner.runtime.spawn(async move { studio.keep(&job).await });
        }
    }

    /// Store what has become of a job. If that fails, the job goes on.
    pub(crate) async fn keep(&self, job: &LiveJob) {
        if let Err(error) = self.store().update(job).await {
            tracing::error!(job = %job.job.id, error = %Causes(&error), "a job could not be stored");
        }
    }

    /// Count a job that has ended.
    pub(crate) fn count_ended(&self, job: &LiveJob) {
        let state = job.state();
        metrics::counter!("studio_jobs", "status" => state.status.name()).increment(1);
        if let Some((started, finished)) = state.started_at.zip(state.finished_at) {
            metrics::histogram!("studio_job_wait_seconds").record(started - job.job.queued_at);
            metrics::histogram!("studio_job_run_seconds").record(finished - started);
        }
    }

    /// The running job of a caller, or the one that comes first of those that wait.
    pub fn running_of(&self, caller: &Caller) -> Option<Arc<LiveJob>> {
        self.queue().of_owner(&caller.owner).into_iter().next()
    }

    /// What is expected of a job; `None` if it has ended.
    pub fn expected(&self, job: &LiveJob) -> Option<Expected> {
        self.queue().forecast().of(&job.job.id)
    }

    /// Remove a finished job of the caller's, and its pictures where no other job has them.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`] if there is none; [`RefusalKind::Conflict`] if it has not ended.
    pub async fn forget(&self, id: Uuid, caller: &Caller) -> Result<(), Refusal> {
        let job = self.job(id, caller).await?;
        let state = job.state();
        if !state.status.is_final() {
            return Err(Refusal::new(RefusalKind::Conflict, "this job has not ended; cancel it first"));
        }
        self.store().remove(&id).await.map_err(store_refusal)?;
        for image in state.images {
            if !self.store().uses_picture(&image.file).await.map_err(store_refusal)? {
                self.pictures().remove(&image.file);
            }
        }
        Ok(())
    }

    /// How the server is set up.
    pub fn config(&self) -> &StudioConfig {
        &self.inner.config
    }

    /// The models and LoRAs.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    pub(crate) fn store(&self) -> &JobStore {
        &self.inner.store
    }

    pub(crate) fn inputs(&self) -> &Inputs {
        &self.inner.inputs
    }

    pub(crate) fn pictures(&self) -> &FileCache {
        &self.inner.pictures
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.inner.secret
    }

    /// The bytes of a finished image.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`] if it had to make room for newer ones.
    pub async fn picture(&self, image: &JobImage) -> Result<Vec<u8>, Refusal> {
        let (studio, file) = (self.clone(), image.file.clone());
        let bytes = self.blocking(move || studio.pictures().read(&file)).await?;
        bytes.ok_or_else(|| Refusal::new(RefusalKind::NotFound, "this picture made room for newer ones; draw it again"))
    }

    /// Take no more jobs, let the running one end within the time that it has, and hand it back otherwise. The jobs that wait are
    /// taken up by the next server.
    pub async fn shut_down(&self) {
        self.inner.draining.cancel();
        self.queue().close();
        let mut changes = self.queue().watch();
        let idle = async { while self.queue().running().is_some() && changes.changed().await.is_ok() {} };
        if tokio::time::timeout(self.config().drain, idle).await.is_err() {
            tracing::info!("the running job is handed back");
            self.inner.stopping.cancel();
            while self.queue().running().is_some() && changes.changed().await.is_ok() {}
        }
        self.inner.ending.cancel();
    }

    /// Let go of the data, when [`shut_down`](Self::shut_down) has ended the worker.
    pub async fn close(&self) {
        self.inner.worker_ended.cancelled().await;
        self.store().close().await;
    }

    /// Whether the server takes no more jobs.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Whether the running job is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.inner.ending.is_cancelled()
    }

    /// The moment when the server answers no more.
    pub async fn ending(&self) {
        self.inner.ending.cancelled().await;
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }
}

/// A refusal for a store that fails.
pub(crate) fn store_refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::Full => Refusal::new(RefusalKind::StorageFull, "the disk of the server is full"),
        other => Refusal::internal(&other),
    }
}

fn idempotency(key: &str, request: &JobRequest) -> Result<Idempotency, Refusal> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let message = format!("an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} bytes");
        return Err(Refusal::new(RefusalKind::Malformed, message));
    }
    let request = serde_json::to_string(request).map_err(|error| Refusal::internal(&error))?;
    Ok(Idempotency { key: key.to_owned(), request_digest: Digest::default().with(request).hex() })
}

fn open_registry(config: &StudioConfig) -> Result<Registry, StartError> {
    if let Some(name) = crate::registry::name_that_is_there_twice(&config.models) {
        return Err(StartError::SameName(name.to_owned()));
    }
    let device = config.device.open()?;
    let open = |source: &crate::registry::ModelSource| source.open(config.device, &device, config.precision);
    let models = config.models.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if models.is_empty() {
        return Err(StartError::NoModel);
    }
    Ok(Registry::new(models, LoraList::open(config.lora_dir.clone())))
}

/// Hold the data folder: two servers would draw each other's jobs. The system lets go of it when the program ends.
fn lock(data: &Path) -> Result<std::fs::File, StartError> {
    let failed = |source: std::io::Error| StartError::Data { path: data.to_owned(), source: source.into() };
    let file = std::fs::File::create(data.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse { path: data.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}
