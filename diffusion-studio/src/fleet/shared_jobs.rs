//! Jobs that this process shares with others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ObjectStore;
use sqlx::{PgPool, Row};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::add::{Put, add};
use super::clean_up::clean_up;
use super::config::FleetConfig;
use super::desk::Desk;
use super::mirror::Mirror;
use super::processes::{Process, set_speed, speeds};
use super::publish::publish;
use super::rows::stored_job;
use super::{Own, database, end};
use crate::caches::Previews;
use crate::jobs::{
    Added, HistoryPage, JobKeeper, JobState, LiveJob, Loaded, NewJob, Queue, Status, StoreError, StoredJob, WorkKey,
};
use crate::refusal::Causes;
use crate::registry::Registry;
use crate::security::Secret;

/// Jobs that this process shares with others.
#[derive(Debug)]
pub(crate) struct SharedJobs {
    pool: PgPool,
    process: Process,
    /// The jobs that live, as this process sees them.
    queue: Arc<Queue>,
    desk: Option<Arc<Desk>>,
    previews: Previews,
    looks: mpsc::UnboundedSender<Uuid>,
    own: Arc<Own>,
    is_ready: Arc<AtomicBool>,
    runtime: Handle,
    /// Nothing is listened to any more.
    ending: CancellationToken,
}

/// What of a process takes part.
pub(crate) struct Parts {
    /// Whether callers are answered.
    pub(crate) is_front: bool,
    /// The models of its worker, if it has one, and the bytes that they may take.
    pub(crate) worker: Option<(Arc<Registry>, Option<usize>)>,
    /// What the worker draws on.
    pub(crate) device: String,
    /// How long finished jobs are listed.
    pub(crate) kept: Duration,
    /// Where pictures are.
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl SharedJobs {
    /// Take part.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be reached, or is of a newer version.
    pub(crate) async fn open(config: &FleetConfig, queue: Arc<Queue>, parts: Parts) -> Result<Self, StoreError> {
        let pool = database::open((*config.database.0).clone()).await?;
        let process = Process {
            id: format!("{} {}", config.name, Uuid::new_v4().simple()),
            name: config.name.clone(),
            device: parts.device,
        };
        let desk = match parts.worker {
            Some((registry, memory)) => {
                let own = speeds(&pool).await?.remove(&config.name).unwrap_or_default();
                Some(Arc::new(Desk::new(pool.clone(), process.clone(), config.timeout, registry, memory, own)))
            }
            None => None,
        };
        let previews = Previews::new(parts.store.clone());
        let (looks, looked) = mpsc::unbounded_channel();
        let jobs = Self {
            pool,
            process,
            queue,
            desk,
            previews: previews.clone(),
            looks,
            own: Arc::default(),
            is_ready: Arc::default(),
            runtime: Handle::current(),
            ending: CancellationToken::new(),
        };
        if parts.is_front {
            jobs.process.beat_as_front(&jobs.pool).await?;
        }
        let mirror = Mirror {
            pool: jobs.pool.clone(),
            process: jobs.process.clone(),
            timeout: config.timeout,
            queue: jobs.queue.clone(),
            previews: previews.clone(),
            desk: jobs.desk.clone(),
            is_front: parts.is_front,
            is_ready: jobs.is_ready.clone(),
            own: jobs.own.clone(),
        };
        tokio::spawn(mirror.run(looked, jobs.ending.clone()));
        jobs.until_ready().await;
        if let Some(desk) = &jobs.desk {
            tokio::spawn(publish(desk.clone(), previews, jobs.ending.clone()));
        }
        tokio::spawn(clean_up(jobs.pool.clone(), parts.store, parts.kept, jobs.ending.clone()));
        Ok(jobs)
    }

    /// Wait until what lives is known, but not for a database that went away again.
    async fn until_ready(&self) {
        const MOST: Duration = Duration::from_secs(5);
        const BETWEEN: Duration = Duration::from_millis(5);
        let ready = async {
            while !self.is_ready() {
                tokio::time::sleep(BETWEEN).await;
            }
        };
        let _ = tokio::time::timeout(MOST, ready).await;
    }

    /// What cookies are signed with at all front ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn secret(&self) -> Result<Secret, StoreError> {
        const INSERT: &str = "INSERT INTO studio.settings (name, value) VALUES ('secret', $1) ON CONFLICT DO NOTHING";
        const SELECT: &str = "SELECT value FROM studio.settings WHERE name = 'secret'";
        sqlx::query(INSERT).bind(Secret::generate()).execute(&self.pool).await?;
        let bytes: Vec<u8> = sqlx::query(SELECT).fetch_one(&self.pool).await?.try_get(0)?;
        Secret::from_bytes(&bytes).ok_or_else(|| sqlx::Error::Protocol("the secret of cookies is too short".to_owned()).into())
    }

    /// The job as it lives here.
    fn adopt(&self, stored: StoredJob) -> Arc<LiveJob> {
        if let Some(live) = self.queue.find(&stored.job.id) {
            return live;
        }
        let live = Arc::new(stored.live());
        if !live.status().is_final() {
            self.queue.insert(&live);
            if live.status() == Status::Running {
                self.queue.begun(&live);
            }
            // It may have gone on in the meantime.
            let _ = self.looks.send(live.job.id);
        }
        live
    }

    async fn select(&self, query: Query<'_>) -> Result<Vec<StoredJob>, StoreError> {
        query.fetch_all(&self.pool).await?.iter().map(stored_job).collect()
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

#[async_trait]
impl JobKeeper for SharedJobs {
    async fn add(&self, new: NewJob) -> Result<Added, StoreError> {
        // It may be drawn before this returns.
        self.own.add(new.job.id);
        // What others have added in the meantime is far less than half of what may wait.
        let few_wait = self.queue.len() < new.room.of_all / 2 && self.queue.len_of(&new.job.user) < new.room.of_user / 2;
        let added = match add(&self.pool, &self.process.id, &new, few_wait && self.is_ready()).await {
            Ok(Put::New(stored)) => return Ok(Added::New(self.adopt(stored))),
            Ok(Put::Repeated(stored)) => {
                let digest = stored.request_digest.clone();
                Ok(Added::Repeated(self.adopt(stored), digest))
            }
            Ok(Put::Full(full)) => Ok(full),
            Err(error) => Err(error),
        };
        self.own.take(&new.job.id);
        added
    }

    async fn cancel(&self, job: &Arc<LiveJob>) -> Result<(), StoreError> {
        end::cancel(&self.pool, job.job.id).await?;
        if let Some(stored) = self.select(sqlx::query(FIND).bind(job.job.id)).await?.pop()
            && stored.state.status == Status::Cancelled
        {
            self.queue.ended(&job.job.id);
            job.change(|state| *state = stored.state);
            if self.own.take(&job.job.id) {
                job.count_end();
            }
        }
        Ok(())
    }

    async fn find(&self, id: &Uuid) -> Result<Option<Arc<LiveJob>>, StoreError> {
        if let Some(live) = self.queue.find(id) {
            return Ok(Some(live));
        }
        Ok(self.select(sqlx::query(FIND).bind(*id)).await?.pop().map(|stored| self.adopt(stored)))
    }

    async fn find_by_picture(&self, key: &str, owner: Option<&str>) -> Result<Option<StoredJob>, StoreError> {
        const SELECT: &str = "SELECT * FROM studio.jobs WHERE picture_key = $1 AND status = 'completed' \
            AND ($2::text IS NULL OR owner = $2) ORDER BY finished_at DESC LIMIT 1";
        Ok(self.select(sqlx::query(SELECT).bind(key).bind(owner)).await?.pop())
    }

    async fn history(&self, owner: &str, page: HistoryPage) -> Result<Vec<StoredJob>, StoreError> {
        const SELECT: &str = "SELECT * FROM studio.jobs WHERE owner = $1 AND status = 'completed' AND finished_at < $2 \
            ORDER BY finished_at DESC LIMIT $3";
        self.select(sqlx::query(SELECT).bind(owner).bind(page.before).bind(i64::from(page.limit))).await
    }

    async fn remove(&self, id: &Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM studio.jobs WHERE id = $1").bind(*id).execute(&self.pool).await?;
        Ok(())
    }

    async fn uses_picture(&self, file: &str) -> Result<bool, StoreError> {
        const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM studio.jobs WHERE status = 'completed' AND strpos(images, $1) > 0)";
        Ok(sqlx::query(SELECT).bind(file).fetch_one(&self.pool).await?.try_get(0)?)
    }

    fn next(&self, loaded: Loaded) -> Option<Arc<LiveJob>> {
        self.runtime.block_on(self.desk.as_ref()?.next(loaded))
    }

    fn ended(&self, job: &Arc<LiveJob>, ended: JobState, loaded: Loaded) {
        if let Some(desk) = &self.desk {
            self.runtime.block_on(desk.ended(job, &ended, loaded));
            let (previews, id) = (self.previews.clone(), job.job.id);
            self.runtime.spawn(async move { previews.remove(id).await });
        }
    }

    fn hand_back(&self, job: &Arc<LiveJob>, counts: bool) {
        if let Some(desk) = &self.desk {
            self.runtime.block_on(desk.hand_back(job, counts));
        }
    }

    fn measured(&self, key: &WorkKey, seconds: f64) {
        let Some(desk) = &self.desk else { return };
        let remembered = desk.measured(key, seconds);
        let (pool, name, key) = (self.pool.clone(), self.process.name.clone(), key.clone());
        self.runtime.spawn(async move {
            if let Err(error) = set_speed(&pool, &name, key.name(), remembered).await {
                tracing::warn!(error = %Causes(&error), "a measurement could not be stored");
            }
        });
    }

    fn close_worker(&self) {
        if let Some(desk) = &self.desk {
            desk.close();
        }
    }

    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.ending.cancel();
        if let Err(error) = self.process.leave(&self.pool).await {
            tracing::debug!(error = %Causes(&error), "nobody could be told that this process ends");
        }
        self.pool.close().await;
    }
}

const FIND: &str = "SELECT * FROM studio.jobs WHERE id = $1";
