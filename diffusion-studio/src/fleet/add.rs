//! Putting jobs into the queue.

use apalis::prelude::{TaskBuilder, TaskId};
use apalis_postgres::queries::push_tasks;
use sqlx::error::DatabaseError;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::QUEUE;
use super::database::of_apalis;
use super::rows::{FORM, json, now, stored_job};
use crate::jobs::{Added, MOST_ATTEMPTS, NewJob, Place, Status, StoreError, StoredJob};

/// What became of a job that was put into the queue.
pub(super) enum Put {
    New(StoredJob),
    Repeated(StoredJob),
    /// [`Added::Full`].
    Full(Added),
}

/// Put a job into the queue, unless its owner asked for it before under the same key, or too many wait.
///
/// `few_wait` says that there is no need to count.
pub(super) async fn add(pool: &PgPool, front: &str, new: &NewJob, few_wait: bool) -> Result<Put, StoreError> {
    /// Another front end was asked under the same key at the same time.
    const UNIQUE_VIOLATION: &str = "23505";
    match try_add(pool, front, new, few_wait).await {
        Err(StoreError::Database(error))
            if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(UNIQUE_VIOLATION) =>
        {
            try_add(pool, front, new, few_wait).await
        }
        done => done,
    }
}

async fn try_add(pool: &PgPool, front: &str, new: &NewJob, few_wait: bool) -> Result<Put, StoreError> {
    const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, hashtext($2)))";
    let mut transaction = pool.begin().await?;
    if let Some(stored) = repeated(&mut transaction, new).await? {
        return Ok(Put::Repeated(stored));
    }
    if new.state.status != Status::Queued {
        let stored = insert(&mut transaction, front, new).await?;
        transaction.commit().await?;
        return Ok(Put::New(stored));
    }
    if !few_wait && let Some(full) = full(&mut transaction, new).await? {
        return Ok(Put::Full(full));
    }
    // One new job of a user at a time: they follow one another.
    sqlx::query(LOCK).bind(&new.job.user).bind(&*new.needs.model).execute(&mut *transaction).await?;
    let stored = insert(&mut transaction, front, new).await?;
    push(&mut transaction, stored.job.id, stored.place).await?;
    transaction.commit().await?;
    Ok(Put::New(stored))
}

/// Put a job into the queue of apalis, which has the last word on who draws it.
pub(super) async fn push(connection: &mut PgConnection, id: Uuid, place: Place) -> Result<(), StoreError> {
    let id = id.to_string();
    let task = TaskBuilder::new(id.clone().into_bytes())
        .task_id(TaskId::from_string(id))
        // The smallest tag comes first; it is stored as a whole number with a sign.
        .priority((place.tag as i32).wrapping_neg() as usize)
        .max_attempts(MOST_ATTEMPTS as usize)
        // No clock decides when it may be taken.
        .run_at_timestamp(0)
        .build();
    push_tasks(connection, QUEUE, vec![task]).await.map_err(of_apalis)
}

/// The job that the owner asked for before under this key.
async fn repeated(connection: &mut PgConnection, new: &NewJob) -> Result<Option<StoredJob>, StoreError> {
    const SELECT: &str = "SELECT * FROM studio.jobs WHERE owner = $1 AND idempotency_key = $2";
    let Some(idempotency) = &new.idempotency else { return Ok(None) };
    let row = sqlx::query(SELECT).bind(&new.job.owner).bind(&idempotency.key).fetch_optional(connection).await?;
    row.as_ref().map(stored_job).transpose()
}

/// What is full, if too many wait.
async fn full(connection: &mut PgConnection, new: &NewJob) -> Result<Option<Added>, StoreError> {
    const SELECT: &str = "SELECT count(*), count(*) FILTER (WHERE user_name = $1) FROM studio.jobs WHERE status = 'queued'";
    let row = sqlx::query(SELECT).bind(&new.job.user).fetch_one(connection).await?;
    Ok(new.room.full(row.try_get::<i64, _>(0)? as usize, row.try_get::<i64, _>(1)? as usize))
}

/// Write the row of a job, in its place: as `FairOrder::place_of_next` has it, in the order of the job's model.
async fn insert(connection: &mut PgConnection, front: &str, new: &NewJob) -> Result<StoredJob, StoreError> {
    const INSERT: &str = concat!(
        "WITH waiting AS (SELECT max(tag) AS last FROM studio.jobs WHERE status = 'queued' AND model = $4 AND user_name = $3), \
         place AS (SELECT greatest( \
             coalesce((SELECT now FROM studio.models WHERE model = $4), 0), \
             coalesce((SELECT next FROM studio.users WHERE model = $4 AND user_name = $3), 0), \
             coalesce(waiting.last + 1, 0)) AS tag, waiting.last IS NULL AS is_first FROM waiting) \
         INSERT INTO studio.jobs (id, owner, user_name, model, loras, form, drawing, picture_key, is_attached, front, \
             idempotency_key, request_digest, tag, status, cached, queued_at, turn_at, finished_at, images, warnings) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, place.tag, $13, $14, ",
        now!(),
        ", CASE WHEN place.is_first THEN ",
        now!(),
        " END, CASE WHEN $14 THEN ",
        now!(),
        " END, $15, $16 FROM place RETURNING *"
    );
    let NewJob { job, needs, state, idempotency, .. } = new;
    let row = sqlx::query(INSERT)
        .bind(job.id)
        .bind(&job.owner)
        .bind(&job.user)
        .bind(&*needs.model)
        .bind(&*needs.loras)
        .bind(FORM)
        .bind(json(&job.drawing)?)
        .bind(&job.key)
        .bind(job.is_attached)
        .bind(front)
        .bind(idempotency.as_ref().map(|idempotency| &idempotency.key))
        .bind(idempotency.as_ref().map(|idempotency| &idempotency.request_digest))
        .bind(state.status.name())
        .bind(state.cached)
        .bind(json(&state.images)?)
        .bind(json(&state.warnings)?)
        .fetch_one(connection)
        .await?;
    stored_job(&row)
}
