//! The server behind its protocols.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::caches::Files;
use crate::config::StudioConfig;
use crate::jobs::{Expected, JobImage, JobKeeper, LiveJob, Queue};
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
    pub(crate) registry: Arc<Registry>,
    /// The jobs that wait and run, to look at.
    pub(crate) queue: Arc<Queue>,
    pub(crate) jobs: Arc<dyn JobKeeper>,
    pub(crate) inputs: Inputs,
    pub(crate) pictures: Files,
    pub(crate) secret: Secret,
    pub(crate) rates: JobRates,
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
        let found = self.jobs().find(&id).await?;
        found.filter(|found| found.job.owner == caller.owner).ok_or_else(Refusal::no_such_job)
    }

    /// Cancel a job of the caller's; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`] if there is none, or it is somebody else's.
    pub async fn cancel(&self, id: Uuid, caller: &Caller) -> Result<Arc<LiveJob>, Refusal> {
        let job = self.job(id, caller).await?;
        if !job.status().is_final() {
            self.jobs().cancel(&job).await?;
        }
        Ok(job)
    }

    /// Cancel a job that nobody waits for any more, also if that has to be tried again.
    pub(crate) fn cancel_abandoned(&self, job: &Arc<LiveJob>) {
        let (studio, job) = (self.clone(), job.clone());
        job.cancel();
        self.inner.runtime.spawn(async move {
            let mut tries = 0..ABANDONED_TRIES;
            while let Err(error) = studio.jobs().cancel(&job).await
                && tries.next().is_some()
            {
                tracing::warn!(job = %job.job.id, error = %Causes(&error), "a job could not be cancelled yet");
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
        });
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
        self.jobs().remove(&id).await?;
        for image in state.images {
            if !self.jobs().uses_picture(&image.file).await? {
                let studio = self.clone();
                self.blocking(move || studio.pictures().remove(&image.file)).await??;
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

    pub(crate) fn jobs(&self) -> &dyn JobKeeper {
        &*self.inner.jobs
    }

    pub(crate) fn inputs(&self) -> &Inputs {
        &self.inner.inputs
    }

    pub(crate) fn pictures(&self) -> &Files {
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
        let bytes = self.blocking(move || studio.pictures().read(&file)).await??;
        bytes.ok_or_else(|| Refusal::new(RefusalKind::NotFound, "this picture made room for newer ones; draw it again"))
    }

    /// Take no more jobs, let the running one end within the time that it has, and hand it back otherwise. The jobs that wait are
    /// taken up by the next server.
    pub async fn shut_down(&self) {
        self.inner.draining.cancel();
        self.jobs().close_worker();
        let idle = self.inner.worker_ended.cancelled();
        if tokio::time::timeout(self.config().drain, idle).await.is_err() {
            tracing::info!("the running job is handed back");
            self.inner.stopping.cancel();
            self.inner.worker_ended.cancelled().await;
        }
        self.inner.ending.cancel();
    }

    /// Let go of the data, when [`shut_down`](Self::shut_down) has ended the worker.
    pub async fn close(&self) {
        self.inner.worker_ended.cancelled().await;
        self.jobs().close().await;
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
}

/// How often a job that nobody waits for is tried to be cancelled.
const ABANDONED_TRIES: usize = 60;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
