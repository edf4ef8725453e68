//! Starting a server.

use std::path::Path;
use std::sync::Arc;

use diffusion_app::devices::Devices;
use diffusion_app::memory::available_memory;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::caches::FileCache;
use crate::clock;
use crate::config::StudioConfig;
use crate::jobs::{JobError, JobStore, LiveJob, Queue, Speeds, Status, StoreError, StoredJob};
use crate::registry::{LoraList, OpenModelError, Registry};
use crate::request::Inputs;
use crate::security::{JobRates, Secret};
use crate::studio::{Inner, MOST_ATTEMPTS, Studio};
use crate::worker;

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
            }
            let live = Arc::new(LiveJob::new(job, place, state));
            self.store().update(&live).await?;
            if live.status() == Status::Queued {
                self.queue().insert(&live);
            }
        }
        Ok(())
    }
}

fn open_registry(config: &StudioConfig) -> Result<Registry, StartError> {
    if let Some(name) = crate::registry::name_that_is_there_twice(&config.models) {
        return Err(StartError::SameName(name.to_owned()));
    }
    let devices = Devices::open(config.device, &config.place)?;
    let open = |source: &crate::registry::ModelSource| source.open(&devices, config.precision);
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
