//! What any process does for all of them, one at a time.

use std::time::Duration;

use apalis_postgres::queries::reenqueue_orphaned;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::database::of_apalis;
use super::end::{after_cancel, cancel_jobs, fail, leave_queue};
use super::notice::{JOBS, NEW, STOPS};
use super::rows::now;
use super::{QUEUE, notify_job};
use crate::jobs::{JobError, MOST_ATTEMPTS, StoreError};

/// Give the jobs of workers that are gone to others, and end those whose front end is gone with its clients.
pub(super) async fn upkeep(pool: &PgPool, timeout: Duration) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    if lock(&mut transaction).await? && is_settled(&mut transaction, timeout).await? {
        requeue_orphans(&mut transaction, timeout).await?;
        end_abandoned(&mut transaction, timeout).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Whether this process is the only one that does this now.
async fn lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtext('diffusion-studio upkeep'))";
    Ok(sqlx::query(LOCK).fetch_one(connection).await?.try_get(0)?)
}

/// Whether the database has been there long enough for workers to have said that they are.
async fn is_settled(connection: &mut PgConnection, timeout: Duration) -> Result<bool, StoreError> {
    const UP: &str = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8";
    let seconds: f64 = sqlx::query(UP).fetch_one(connection).await?.try_get(0)?;
    Ok(seconds > timeout.as_secs_f64())
}

/// Jobs of workers that said nothing for so long are drawn by others, or have failed if that happened too often.
async fn requeue_orphans(connection: &mut PgConnection, timeout: Duration) -> Result<(), StoreError> {
    const SELECT: &str = "SELECT job.id, job.attempts, job.is_cancelled FROM studio.jobs AS job JOIN apalis.jobs AS task \
        ON task.id = job.id::text WHERE job.status = 'running' AND task.status = 'Pending' FOR UPDATE OF job";
    const QUEUE_AGAIN: &str =
        "UPDATE studio.jobs SET status = 'queued', worker = NULL, images = '[]', started_at = NULL WHERE id = $1";
    const END: &str = concat!("UPDATE studio.jobs SET status = 'cancelled', finished_at = ", now!(), " WHERE id = $1");
    reenqueue_orphaned(&mut *connection, QUEUE, timeout.as_secs().max(1)).await.map_err(of_apalis)?;
    for row in sqlx::query(SELECT).fetch_all(&mut *connection).await? {
        let (id, attempts): (Uuid, i32) = (row.try_get("id")?, row.try_get("attempts")?);
        let is_cancelled: bool = row.try_get("is_cancelled")?;
        tracing::warn!(job = %id, attempts, "the worker of a job is gone");
        if is_cancelled {
            sqlx::query(END).bind(id).execute(&mut *connection).await?;
            leave_queue(&mut *connection, id).await?;
        } else if attempts as u32 >= MOST_ATTEMPTS {
            fail(&mut *connection, id, &JobError::crashed(attempts as u32)).await?;
        } else {
            sqlx::query(QUEUE_AGAIN).bind(id).execute(&mut *connection).await?;
            notify_job(&mut *connection, STOPS, id).await?;
            notify_job(&mut *connection, NEW, id).await?;
        }
        notify_job(&mut *connection, JOBS, id).await?;
    }
    Ok(())
}

/// Attached jobs end with their front end, which has said nothing for so long.
async fn end_abandoned(connection: &mut PgConnection, timeout: Duration) -> Result<(), StoreError> {
    const UPDATE: &str = concat!(
        cancel_jobs!(),
        " AND is_attached AND NOT is_cancelled AND NOT EXISTS \
            (SELECT 1 FROM studio.processes WHERE id = front AND kind = 'front' AND seen > ",
        now!(),
        " - $1) RETURNING id, status, model, user_name"
    );
    for row in sqlx::query(UPDATE).bind(timeout.as_secs_f64()).fetch_all(&mut *connection).await? {
        tracing::info!(job = %row.try_get::<Uuid, _>("id")?, "its front end is gone, and with it its client");
        after_cancel(&mut *connection, &row).await?;
    }
    Ok(())
}

/// Forget finished jobs that ended longer ago than `kept`, and what else nobody needs any more, once an hour; whether this process was the one.
pub(super) async fn forget(pool: &PgPool, kept: Duration) -> Result<bool, StoreError> {
    const TURN: &str = concat!(
        "INSERT INTO studio.settings AS known (name, value) VALUES ('forgotten_at', convert_to((",
        now!(),
        ")::text, 'UTF8')) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE convert_from(known.value, 'UTF8')::float8 < ",
        now!(),
        " - 3600"
    );
    const DELETE_JOBS: &str = concat!(
        "DELETE FROM studio.jobs WHERE status IN ('completed', 'failed', 'cancelled') AND finished_at < ",
        now!(),
        " - $1"
    );
    const DELETE: [&str; 4] = [
        "DELETE FROM apalis.jobs WHERE job_type = 'studio' AND status IN ('Done', 'Killed') AND done_at < now() - interval '1 hour'",
        concat!("DELETE FROM studio.processes WHERE seen < ", now!(), " - 86400"),
        "DELETE FROM studio.users USING studio.models WHERE users.model = models.model AND users.next <= models.now",
        // A worker's row is needed as long as the queue has a job that it drew.
        "DELETE FROM apalis.workers AS worker WHERE worker_type = 'studio' AND last_seen < now() - interval '1 day' \
            AND NOT EXISTS (SELECT 1 FROM apalis.jobs WHERE lock_by = worker.id)",
    ];
    let mut transaction = pool.begin().await?;
    let is_one = sqlx::query(TURN).execute(&mut *transaction).await?.rows_affected() == 1;
    if is_one {
        sqlx::query(DELETE_JOBS).bind(kept.as_secs_f64()).execute(&mut *transaction).await?;
        for statement in DELETE {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    Ok(is_one)
}
