//! Where jobs are kept and handed out.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::estimate::WorkKey;
use super::forecast::Loaded;
use super::job::{Job, LiveJob};
use super::order::Place;
use super::placement::Needs;
use super::state::JobState;

/// Where jobs are kept and handed out: in this process alone, or shared with others.
#[async_trait]
pub(crate) trait JobKeeper: Debug + Send + Sync {
    /// Keep a new job: one that waits, or one that was answered from the cache.
    async fn add(&self, new: NewJob) -> Result<Added, StoreError>;

    /// End a job that waits at once, and one that is drawn within a step.
    async fn cancel(&self, job: &Arc<LiveJob>) -> Result<(), StoreError>;

    /// A job by its name, whether it lives or has ended.
    async fn find(&self, id: &Uuid) -> Result<Option<Arc<LiveJob>>, StoreError>;

    /// The newest finished job with these pictures, of this owner or of anybody.
    async fn find_by_picture(&self, key: &str, owner: Option<&str>) -> Result<Option<StoredJob>, StoreError>;

    /// The finished pictures of an owner, the newest first.
    async fn history(&self, owner: &str, page: HistoryPage) -> Result<Vec<StoredJob>, StoreError>;

    /// Forget a finished job.
    async fn remove(&self, id: &Uuid) -> Result<(), StoreError>;

    /// Whether a job that is not forgotten has this picture.
    async fn uses_picture(&self, file: &str) -> Result<bool, StoreError>;

    /// The next job for this process to draw, which runs from now on. Waits until there is one, on the worker's own thread; `None`
    /// when the worker was closed. `loaded` is what it has in memory.
    fn next(&self, loaded: Loaded) -> Option<Arc<LiveJob>>;

    /// A job has ended like this; who watches it hears of it when it is stored.
    fn ended(&self, job: &Arc<LiveJob>, ended: JobState, loaded: Loaded);

    /// A job goes back to its place. Where it was nobody's fault, the attempt does not count.
    fn hand_back(&self, job: &Arc<LiveJob>, counts: bool);

    /// Take in how long work took.
    fn measured(&self, key: &WorkKey, seconds: f64);

    /// Give nothing to the worker any more.
    fn close_worker(&self);

    /// Whether jobs can be kept now.
    fn is_ready(&self) -> bool;

    /// Write what waits in memory, and let go of everything.
    async fn close(&self);
}

/// A job that is killed together with its worker so often is not begun again.
pub(crate) const MOST_ATTEMPTS: u32 = 2;

/// A job that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) job: Job,
    /// What it needs in a worker's memory.
    pub(crate) needs: Needs,
    pub(crate) state: JobState,
    pub(crate) idempotency: Option<Idempotency>,
    /// How many may wait.
    pub(crate) room: Room,
}

/// How many jobs may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) of_all: usize,
    pub(crate) of_user: usize,
}

/// What became of a job that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Added {
    /// It is kept.
    New(Arc<LiveJob>),
    /// The owner asked for this one before under the same key; the digest is that of the request.
    Repeated(Arc<LiveJob>, Option<String>),
    /// As many wait as may, of all or of this user.
    Full {
        /// Whether it is the user who waits for too many.
        of_user: bool,
    },
}

impl Room {
    /// What is full when so many wait.
    pub(crate) fn full(self, all: usize, of_user: usize) -> Option<Added> {
        if all >= self.of_all {
            Some(Added::Full { of_user: false })
        } else if of_user >= self.of_user {
            Some(Added::Full { of_user: true })
        } else {
            None
        }
    }
}

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// There is no room.
    #[error("the disk of the jobs is full")]
    Full,
    /// The database does not answer now.
    #[error("the database of jobs cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// The database fails.
    #[error("the database of jobs fails")]
    Database(#[source] sqlx::Error),
    /// The tables are of another version.
    #[error("the database of jobs is not of this version of the program; a newer one wrote it, or it is damaged")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row does not read.
    #[error("a row of the database of jobs does not read")]
    Row(#[from] serde_json::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        const SQLITE_FULL: &str = "13";
        const POSTGRES_FULL: &str = "53100";
        /// Connections that end, and a server that starts or ends.
        const POSTGRES_AWAY: [&str; 3] = ["08", "57P", "53300"];
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        match (&error, code.as_deref()) {
            (_, Some(SQLITE_FULL | POSTGRES_FULL)) => Self::Full,
            (_, Some(code)) if POSTGRES_AWAY.iter().any(|away| code.starts_with(away)) => Self::Unreachable(error),
            (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_), _) => {
                Self::Unreachable(error)
            }
            _ => Self::Database(error),
        }
    }
}

/// A key by which a caller recognizes a request, and what the request says.
#[derive(Clone, Debug)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    pub(crate) request_digest: String,
}

/// A job as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredJob {
    pub(crate) job: Job,
    pub(crate) place: Place,
    pub(crate) state: JobState,
    pub(crate) request_digest: Option<String>,
}

impl StoredJob {
    /// The job as those have it who look at it.
    pub(crate) fn live(self) -> LiveJob {
        LiveJob::new(self.job, self.place, self.state)
    }
}

/// Which finished jobs of an owner are listed, the newest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryPage {
    pub(crate) before: f64,
    pub(crate) limit: u32,
}
