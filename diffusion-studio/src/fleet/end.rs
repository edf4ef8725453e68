//! Jobs that leave a worker or the queue.

use apalis::prelude::{Status as TaskStatus, TaskId, TaskResult};
use apalis_postgres::queries::{handle_results, reenqueue_abandoned};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::database::of_apalis;
use super::notice::{JOBS, NEW, STOPS};
use super::rows::{json, now};
use super::{QUEUE, notify_job, tell};
use crate::jobs::{JobError, JobState, Status, StoreError};

/// Store how a job ended. A picture counts from whoever draws it first, since that of the same drawing is the same; that it stopped or failed, only
/// from who has it.
pub(super) async fn deliver(pool: &PgPool, worker_id: &str, id: Uuid, ended: &JobState) -> Result<(), StoreError> {
    const UPDATE: &str = concat!(
        "UPDATE studio.jobs SET status = $2, images = $3, warnings = $4, error = $5, attempts = greatest(attempts, $7), \
            finished_at = ",
        now!(),
        " WHERE id = $1 AND status IN ('queued', 'running') AND (worker = $6 OR $2 = 'completed')"
    );
    let mut transaction = pool.begin().await?;
    let error = ended.error.as_ref().map(json).transpose()?;
    let stored = sqlx::query(UPDATE)
        .bind(id)
        .bind(ended.status.name())
        .bind(json(&ended.images)?)
        .bind(json(&ended.warnings)?)
        .bind(error)
        .bind(worker_id)
        .bind(ended.attempts as i32)
        .execute(&mut *transaction)
        .await?;
    if stored.rows_affected() == 0 {
        tracing::info!(job = %id, "another worker has it");
        return Ok(());
    }
    let is_done = ended.status == Status::Completed;
    let result = TaskResult {
        task_id: TaskId::from_string(id.to_string()),
        attempt: ended.attempts as usize,
        status: if is_done { TaskStatus::Done } else { TaskStatus::Killed },
        result: if is_done { Ok(Value::Null) } else { Err(ended.status.name().to_owned()) },
    };
    let counted = handle_results(&mut *transaction, &[&result], worker_id).await.map_err(of_apalis)?;
    if counted == 0 {
        // Another worker was given it in the meantime, and may stop.
        leave_queue(&mut transaction, id).await?;
        notify_job(&mut transaction, STOPS, id).await?;
    }
    transaction.commit().await?;
    tell(pool, id).await;
    Ok(())
}

/// A job has failed without anybody drawing it.
pub(super) async fn fail(connection: &mut PgConnection, id: Uuid, error: &JobError) -> Result<(), StoreError> {
    const UPDATE: &str =
        concat!("UPDATE studio.jobs SET status = 'failed', error = $2, finished_at = ", now!(), " WHERE id = $1");
    sqlx::query(UPDATE).bind(id).bind(json(error)?).execute(&mut *connection).await?;
    leave_queue(&mut *connection, id).await?;
    notify_job(connection, JOBS, id).await
}

/// Store what has come of a job that is still drawn.
pub(super) async fn tell_images(pool: &PgPool, worker_id: &str, id: Uuid, state: &JobState) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE studio.jobs SET images = $3, warnings = $4 WHERE id = $1 AND worker = $2 AND status = 'running'";
    let (images, warnings) = (json(&state.images)?, json(&state.warnings)?);
    sqlx::query(UPDATE).bind(id).bind(worker_id).bind(images).bind(warnings).execute(pool).await?;
    tell(pool, id).await;
    Ok(())
}

/// Put a job back into its place.
pub(super) async fn hand_back(pool: &PgPool, worker_id: &str, id: Uuid, counts: bool) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE studio.jobs SET status = 'queued', attempts = attempts - $3, worker = NULL, images = '[]', \
        started_at = NULL WHERE id = $1 AND worker = $2 AND status = 'running'";
    let mut transaction = pool.begin().await?;
    let back = sqlx::query(UPDATE).bind(id).bind(worker_id).bind(i32::from(!counts)).execute(&mut *transaction).await?;
    if back.rows_affected() == 1 {
        reenqueue_abandoned(&mut *transaction, QUEUE, worker_id, &[id.to_string()]).await.map_err(of_apalis)?;
        notify_job(&mut transaction, JOBS, id).await?;
        notify_job(&mut transaction, NEW, id).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Begins a statement that cancels jobs: at once those that wait; who draws the others is to be told, see [`after_cancel`].
macro_rules! cancel_jobs {
    () => {
        concat!(
            "UPDATE studio.jobs SET is_cancelled = true, \
                status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END, \
                finished_at = CASE status WHEN 'queued' THEN ",
            now!(),
            " END WHERE status IN ('queued', 'running')"
        )
    };
}
pub(super) use cancel_jobs;

/// Cancel a job: at once if it waits; who draws it is told.
pub(super) async fn cancel(pool: &PgPool, id: Uuid) -> Result<(), StoreError> {
    const UPDATE: &str = concat!(cancel_jobs!(), " AND id = $1 RETURNING id, status, model, user_name");
    let mut transaction = pool.begin().await?;
    if let Some(row) = sqlx::query(UPDATE).bind(id).fetch_optional(&mut *transaction).await? {
        after_cancel(&mut transaction, &row).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// What follows for the queue, the user's next job and the worker when a job, with the columns that the row has, was cancelled.
pub(super) async fn after_cancel(connection: &mut PgConnection, row: &PgRow) -> Result<(), StoreError> {
    let id = row.try_get("id")?;
    if row.try_get::<String, _>("status")? == Status::Cancelled.name() {
        leave_queue(&mut *connection, id).await?;
        give_turn(&mut *connection, row.try_get("model")?, row.try_get("user_name")?).await?;
    } else {
        notify_job(&mut *connection, STOPS, id).await?;
    }
    notify_job(connection, JOBS, id).await
}

/// Nobody takes this job out of the queue any more.
pub(super) async fn leave_queue(connection: &mut PgConnection, id: Uuid) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE apalis.jobs SET status = 'Killed', done_at = now() \
        WHERE id = $1 AND status IN ('Pending', 'Queued', 'Running')";
    sqlx::query(UPDATE).bind(id.to_string()).execute(connection).await?;
    Ok(())
}

/// The turn of a user's first job has come.
async fn give_turn(connection: &mut PgConnection, model: String, user: String) -> Result<(), StoreError> {
    const UPDATE: &str = concat!(
        "UPDATE studio.jobs SET turn_at = ",
        now!(),
        " WHERE turn_at IS NULL AND id = (SELECT id FROM studio.jobs WHERE status = 'queued' AND model = $1 AND user_name = $2 \
            ORDER BY tag, sequence LIMIT 1)"
    );
    sqlx::query(UPDATE).bind(model).bind(user).execute(connection).await?;
    Ok(())
}
