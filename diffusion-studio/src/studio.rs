//! The server behind its protocols.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::caches::FileCache;
use crate::config::StudioConfig;
use crate::jobs::{Expected, JobImage, JobStore, LiveJob, Queue, Status, StoreError};
use crate::refusal::{Causes, Refusal, RefusalKind};
use crate::registry::Registry;
use crate::request::{Inputs, JobRequest, Resolved, resolve};
use crate::security::{Caller, JobRates, Secret};

/// A server behind its protocols: what they all stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Studio {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: StudioConfig,
    pub(crate) registry: Registry,
    pub(crate) queue: Queue,
    pub(crate) store: JobStore,
    pub(crate) inputs: Inputs,
    pub(crate) pictures: FileCache,
    pub(crate) secret: Secret,
    pub(crate) rates: JobRates,
    /// One submission at a time: what it finds stays so until it is stored.
    pub(crate) submitting: tokio::sync::Mutex<()>,
    pub(crate) runtime: Handle,
    /// The server takes no more jobs.
    pub(crate) draining: CancellationToken,
    /// The running job stops.
    pub(crate) stopping: CancellationToken,
    /// The server answers no more.
    pub(crate) ending: CancellationToken,
    /// The worker has ended.
    pub(crate) worker_ended: CancellationToken,
}

/// A job that is killed together with its server so often is not begun again.
pub(crate) const MOST_ATTEMPTS: u32 = 2;

impl Studio {
    /// Everything that a request leaves open, filled in and checked.
    pub(crate) async fn resolve(&self, request: JobRequest) -> Result<Resolved, Refusal> {
        let studio = self.clone();
        self.blocking(move || resolve(&request, studio.registry(), studio.inputs(), &studio.config().limits)).await?
    }

    /// Run what takes a while beside the server.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::internal(&error))
    }

    /// A job of the caller's, whether it lives or has ended.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`] if there is none, or it is somebody else's.
    pub async fn job(&self, id: Uuid, caller: &Caller) -> Result<Arc<LiveJob>, Refusal> {
        let found = match self.queue().find(&id) {
            Some(live) => Some(live),
            None => self.store().find(&id).await.map_err(store_refusal)?.map(|stored| Arc::new(stored.live())),
        };
        found.filter(|found| found.job.owner == caller.owner).ok_or_else(Refusal::no_such_job)
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
            job.count_end();
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
