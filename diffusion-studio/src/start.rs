//! Starting a server.

use std::path::Path;
use std::sync::Arc;

use diffusion_app::devices::Devices;
use diffusion_app::memory::available_memory;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::caches::{FileCache, Files, SharedFiles, StoreUrl, check_store};
use crate::config::StudioConfig;
use crate::fleet::{DatabaseUrl, FleetConfig, Parts, SharedJobs};
use crate::jobs::{JobKeeper, LocalJobs, Queue, StoreError};
use crate::registry::{LoraList, OpenModelError, Registry};
use crate::request::Inputs;
use crate::security::{JobRates, Secret};
use crate::studio::{Inner, Studio};
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
    /// The database cannot be used.
    #[error("the database {database:?} cannot be used")]
    Database {
        /// The database.
        database: DatabaseUrl,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store of pictures cannot be used.
    #[error("the store {store} cannot be used")]
    Store {
        /// The store.
        store: StoreUrl,
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
        let registry = Arc::new(registry);
        let folder = |name: &str| FileCache::open(data.join(name), config.cache_size).map_err(|error| failed(error.into()));
        let (pictures, inputs) = (folder("pictures")?, folder("inputs")?);
        let queue = Arc::new(Queue::new());
        let Kept { jobs, secret, pictures, inputs } = match &config.fleet {
            None => alone(&config, &queue, pictures, inputs).await.map_err(failed)?,
            Some(fleet) => shared(&config, fleet, &queue, &registry, pictures, inputs).await?,
        };
        let rates = JobRates::new(config.jobs_per_minute);
        let studio = Self {
            inner: Arc::new(Inner {
                registry,
                queue,
                jobs,
                inputs: Inputs::new(inputs),
                pictures,
                secret,
                rates,
                runtime: Handle::current(),
                draining: CancellationToken::new(),
                stopping: CancellationToken::new(),
                ending: CancellationToken::new(),
                worker_ended: CancellationToken::new(),
                config,
            }),
        };
        let ended = studio.inner.worker_ended.clone();
        if studio.config().role.draws() {
            worker::start(studio.clone(), lock, ended.drop_guard()).map_err(|error| failed(error.into()))?;
        } else {
            ended.cancel();
            let studio = studio.clone();
            tokio::spawn(async move {
                studio.ending().await;
                drop(lock);
            });
        }
        Ok(studio)
    }
}

/// What lasts of a server.
struct Kept {
    jobs: Arc<dyn JobKeeper>,
    secret: Secret,
    pictures: Files,
    inputs: Files,
}

/// A server that stands alone keeps everything in its folder.
async fn alone(
    config: &StudioConfig,
    queue: &Arc<Queue>,
    pictures: FileCache,
    inputs: FileCache,
) -> Result<Kept, Box<dyn std::error::Error + Send + Sync>> {
    let jobs = LocalJobs::open(&config.data.join("jobs.sqlite"), queue.clone(), config.keep_jobs).await?;
    let secret = Secret::open(&config.data.join("secret"))?;
    Ok(Kept { jobs: Arc::new(jobs), secret, pictures: Files::Local(pictures), inputs: Files::Local(inputs) })
}

/// A server that shares its queue keeps everything where others find it.
async fn shared(
    config: &StudioConfig,
    fleet: &FleetConfig,
    queue: &Arc<Queue>,
    registry: &Arc<Registry>,
    pictures: FileCache,
    inputs: FileCache,
) -> Result<Kept, StartError> {
    let no_store = |source: Box<dyn std::error::Error + Send + Sync>| StartError::Store { store: fleet.store.clone(), source };
    let store = fleet.store.open().map_err(|error| no_store(error.into()))?;
    check_store(&*store).await.map_err(|error| no_store(error.into()))?;
    let parts = Parts {
        is_front: config.role.answers(),
        worker: config.role.draws().then(|| (registry.clone(), config.limits.memory)),
        device: config.device.to_string(),
        kept: config.keep_jobs,
        store: store.clone(),
    };
    let no_database = |error: StoreError| StartError::Database { database: fleet.database.clone(), source: error.into() };
    let jobs = SharedJobs::open(fleet, queue.clone(), parts).await.map_err(no_database)?;
    let secret = jobs.secret().await.map_err(no_database)?;
    let files = |kind, cache| Files::Shared(SharedFiles::new(store.clone(), kind, cache, Handle::current()));
    Ok(Kept { jobs: Arc::new(jobs), secret, pictures: files("pictures", pictures), inputs: files("inputs", inputs) })
}

fn open_registry(config: &StudioConfig) -> Result<Registry, StartError> {
    if let Some(name) = crate::registry::name_that_is_there_twice(&config.models) {
        return Err(StartError::SameName(name.to_owned()));
    }
    let devices = Devices::open(config.device, &config.place)?;
    let open = |source: &crate::registry::ModelSource| source.open(&devices, config.precision);
    let mut models = config.models.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    for model in &mut models {
        model.options.captures_steps = config.captures_steps;
    }
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
