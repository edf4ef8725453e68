//! What lasts of the jobs of one process, in a file of `SQLite`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Row, SqlSafeStr};
use uuid::Uuid;

use super::job::Job;
use super::keeper::{HistoryPage, Idempotency, StoreError, StoredJob};
use super::order::Place;
use super::state::{JobError, JobState, Status};

/// What lasts of the jobs of one process.
#[derive(Clone, Debug)]
pub(crate) struct SqliteJobs {
    pool: SqlitePool,
}

/// How long statements wait for each other.
const BUSY: Duration = Duration::from_secs(10);
/// Connections: `SQLite` has one writer, and readers beside it.
const CONNECTIONS: u32 = 4;

impl SqliteJobs {
    /// The database in a file, made if it is not there.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be used, or is of a newer version.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A transaction outlives the process; only a machine that loses power may lose the last ones.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Store a new job.
    pub(crate) async fn insert(
        &self,
        job: &Job,
        place: Place,
        state: &JobState,
        idempotency: Option<&Idempotency>,
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO jobs (id, owner, user, drawing, picture_key, is_attached, idempotency_key, \
            request_digest, tag, sequence, status, attempts, cached, queued_at, started_at, finished_at, images, warnings) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(INSERT)
            .bind(job.id.to_string())
            .bind(&job.owner)
            .bind(&job.user)
            .bind(json(&job.drawing)?)
            .bind(&job.key)
            .bind(job.is_attached)
            .bind(idempotency.map(|idempotency| &idempotency.key))
            .bind(idempotency.map(|idempotency| &idempotency.request_digest))
            .bind(place.tag as i64)
            .bind(place.sequence as i64)
            .bind(state.status.name())
            .bind(state.attempts)
            .bind(state.cached)
            .bind(job.queued_at)
            .bind(state.started_at)
            .bind(state.finished_at)
            .bind(json(&state.images)?)
            .bind(json(&state.warnings)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Store what has become of a job.
    pub(crate) async fn update(&self, id: &Uuid, state: &JobState) -> Result<(), StoreError> {
        const UPDATE: &str = "UPDATE jobs SET status = ?, attempts = ?, started_at = ?, finished_at = ?, images = ?, \
            warnings = ?, error = ? WHERE id = ?";
        sqlx::query(UPDATE)
            .bind(state.status.name())
            .bind(state.attempts)
            .bind(state.started_at)
            .bind(state.finished_at)
            .bind(json(&state.images)?)
            .bind(json(&state.warnings)?)
            .bind(state.error.as_ref().map(json).transpose()?)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A job by its name.
    pub(crate) async fn find(&self, id: &Uuid) -> Result<Option<StoredJob>, StoreError> {
        let rows = self.select("SELECT * FROM jobs WHERE id = ?", |query| query.bind(id.to_string())).await?;
        Ok(rows.into_iter().next())
    }

    /// The job that an owner asked for under this key.
    pub(crate) async fn find_by_key(&self, owner: &str, key: &str) -> Result<Option<StoredJob>, StoreError> {
        const SELECT: &str = "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?";
        let rows = self.select(SELECT, |query| query.bind(owner.to_owned()).bind(key.to_owned())).await?;
        Ok(rows.into_iter().next())
    }

    /// The newest finished job with these pictures, of this owner or of anybody.
    pub(crate) async fn find_by_picture(&self, key: &str, owner: Option<&str>) -> Result<Option<StoredJob>, StoreError> {
        const SELECT: &str = "SELECT * FROM jobs WHERE picture_key = ?1 AND status = 'completed' AND (?2 IS NULL OR owner = ?2) \
            ORDER BY finished_at DESC LIMIT 1";
        let rows = self.select(SELECT, |query| query.bind(key.to_owned()).bind(owner.map(str::to_owned))).await?;
        Ok(rows.into_iter().next())
    }

    /// The finished pictures of an owner, the newest first.
    pub(crate) async fn history(&self, owner: &str, page: HistoryPage) -> Result<Vec<StoredJob>, StoreError> {
        const SELECT: &str = "SELECT * FROM jobs WHERE owner = ? AND status = 'completed' AND finished_at < ? \
            ORDER BY finished_at DESC LIMIT ?";
        self.select(SELECT, |query| query.bind(owner.to_owned()).bind(page.before).bind(page.limit)).await
    }

    /// Jobs that waited or ran when the program ended, in their order. Those that do not read are counted as failed.
    pub(crate) async fn unfinished(&self) -> Result<Vec<StoredJob>, StoreError> {
        const SELECT: &str = "SELECT * FROM jobs WHERE status IN ('queued', 'running') ORDER BY tag, sequence";
        const FAIL: &str = "UPDATE jobs SET status = 'failed', error = ? WHERE id = ?";
        let rows = sqlx::query(SELECT).fetch_all(&self.pool).await?;
        let mut jobs = Vec::with_capacity(rows.len());
        for row in rows {
            match stored_job(&row) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    let id: String = row.try_get("id")?;
                    tracing::error!(%error, id, "a waiting job does not read");
                    sqlx::query(FAIL).bind(json(&JobError::unreadable())?).bind(id).execute(&self.pool).await?;
                }
            }
        }
        Ok(jobs)
    }

    /// Forget a job.
    pub(crate) async fn remove(&self, id: &Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs WHERE id = ?").bind(id.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// Whether a job that is not forgotten has this picture.
    pub(crate) async fn uses_picture(&self, file: &str) -> Result<bool, StoreError> {
        const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM jobs WHERE status = 'completed' AND instr(images, ?) > 0)";
        Ok(sqlx::query(SELECT).bind(file.to_owned()).fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// Forget finished jobs that ended before this time.
    pub(crate) async fn forget_before(&self, time: f64) -> Result<u64, StoreError> {
        const DELETE: &str = "DELETE FROM jobs WHERE finished_at < ? AND status IN ('completed', 'failed', 'cancelled')";
        Ok(sqlx::query(DELETE).bind(time).execute(&self.pool).await?.rows_affected())
    }

    /// How long work took.
    pub(crate) async fn speeds(&self) -> Result<HashMap<String, f64>, StoreError> {
        let rows = sqlx::query("SELECT work, seconds FROM speeds").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Remember how long work took.
    pub(crate) async fn set_speed(&self, work: &str, seconds: f64) -> Result<(), StoreError> {
        const UPSERT: &str = "INSERT INTO speeds (work, seconds) VALUES (?, ?) \
            ON CONFLICT (work) DO UPDATE SET seconds = excluded.seconds";
        sqlx::query(UPSERT).bind(work.to_owned()).bind(seconds).execute(&self.pool).await?;
        Ok(())
    }

    /// Write what waits in memory, and let go of the file.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn select<'q>(
        &self,
        statement: &'static str,
        bind: impl FnOnce(Query<'q>) -> Query<'q>,
    ) -> Result<Vec<StoredJob>, StoreError> {
        let rows = bind(sqlx::query(statement.into_sql_str())).fetch_all(&self.pool).await?;
        rows.iter().map(stored_job).collect()
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn stored_job(row: &SqliteRow) -> Result<StoredJob, StoreError> {
    let id: String = row.try_get("id")?;
    let job = Job {
        id: id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        owner: row.try_get("owner")?,
        user: row.try_get("user")?,
        drawing: from_json(row, "drawing")?,
        key: row.try_get("picture_key")?,
        queued_at: row.try_get("queued_at")?,
        is_attached: row.try_get("is_attached")?,
    };
    let place = Place { tag: row.try_get::<i64, _>("tag")? as u64, sequence: row.try_get::<i64, _>("sequence")? as u64 };
    let status: String = row.try_get("status")?;
    let error: Option<String> = row.try_get("error")?;
    let state = JobState {
        status: serde_json::from_value::<Status>(status.into())?,
        attempts: row.try_get("attempts")?,
        cached: row.try_get("cached")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        images: from_json(row, "images")?,
        error: error.map(|error| serde_json::from_str(&error)).transpose()?,
        ..JobState::queued(from_json(row, "warnings")?)
    };
    Ok(StoredJob { job, place, state, request_digest: row.try_get("request_digest")? })
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value)?)
}

fn from_json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    Ok(serde_json::from_str(&text)?)
}
