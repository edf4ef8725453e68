//! Taking jobs out of the queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apalis_postgres::queries::lock_tasks;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::add::push;
use super::end::fail;
use super::rows::{FORM, now, stored_job};
use super::tell;
use crate::jobs::{Candidate, Decision, JobError, Needs, Patience, Place, StoreError, StoredJob, WorkerState, choose};
use crate::refusal::Causes;

/// What the queue has for a free worker.
pub(super) enum Claim {
    /// A job, which this worker draws from now on, and what it needs.
    Took(Box<StoredJob>, Needs),
    /// Nothing for so long, unless something changes.
    Leave(Duration),
    /// Nothing that the worker could draw.
    Nothing,
}

/// Take the job that [`choose`] chooses. Workers that look at the same time see other jobs: those that one looks at are locked.
pub(super) async fn claim(
    pool: &PgPool,
    worker_id: &str,
    worker: &WorkerState,
    loaded_elsewhere: &HashMap<Arc<str>, usize>,
) -> Result<Claim, StoreError> {
    let mut transaction = pool.begin().await?;
    let mut waiting = candidates(&mut transaction, worker).await?;
    let decide = |waiting: &[Waiting]| {
        let of_waiting = waiting.iter().map(|waiting| Candidate {
            place: waiting.place,
            needs: &waiting.needs,
            since_turn: waiting.since_turn,
            longest_wait: waiting.longest_wait,
            loaded_elsewhere: loaded_elsewhere.get(&waiting.needs.model).copied().unwrap_or(0),
        });
        choose(worker, of_waiting, &Patience::default())
    };
    let mut decision = decide(&waiting);
    if matches!(decision, Decision::Leave(_)) {
        // Others may have been left to wait for long enough, which is asked only where it counts.
        see_longest_waits(&mut transaction, &mut waiting).await?;
        decision = decide(&waiting);
    }
    let taken = match decision {
        Decision::Take(index) => &waiting[index],
        Decision::Leave(time) => return Ok(Claim::Leave(time)),
        Decision::Nothing => return Ok(Claim::Nothing),
    };
    let first = waiting.iter().filter(|other| other.needs.model == taken.needs.model).map(|other| other.place).min();
    let row = take(&mut transaction, taken, first.unwrap_or(taken.place), worker_id).await?;
    lock(&mut transaction, taken, worker_id).await?;
    let stored = stored_job(&row);
    if let Err(error) = &stored {
        tracing::error!(job = %taken.id, error = %Causes(error), "a job does not read");
        fail(&mut transaction, taken.id, &JobError::unreadable()).await?;
    }
    transaction.commit().await?;
    tell(pool, taken.id).await;
    Ok(match stored {
        Ok(stored) => Claim::Took(Box::new(stored), taken.needs.clone()),
        // Another one may be there.
        Err(_) => Claim::Leave(Duration::ZERO),
    })
}

/// How long that job of each model waits that waits longest.
async fn see_longest_waits(connection: &mut PgConnection, waiting: &mut [Waiting]) -> Result<(), StoreError> {
    const SELECT: &str = concat!("SELECT ", now!(), " - min(queued_at) FROM studio.jobs WHERE status = 'queued' AND model = $1");
    for waiting in waiting {
        let seconds: Option<f64> =
            sqlx::query(SELECT).bind(&*waiting.needs.model).fetch_one(&mut *connection).await?.try_get(0)?;
        waiting.longest_wait = seconds_of(seconds);
    }
    Ok(())
}

/// Take a job out of the queue of apalis, which has the last word on who draws it. Where somebody has cleaned that queue, it is put
/// there again: nothing stands still for ever.
async fn lock(connection: &mut PgConnection, job: &Waiting, worker_id: &str) -> Result<(), StoreError> {
    let ids = [job.id.to_string()];
    if lock_tasks(&mut *connection, &ids, worker_id).await? == 1 {
        return Ok(());
    }
    tracing::warn!(job = %job.id, "the queue had lost a job");
    sqlx::query("DELETE FROM apalis.jobs WHERE id = $1").bind(&ids[0]).execute(&mut *connection).await?;
    push(&mut *connection, job.id, job.place).await?;
    match lock_tasks(&mut *connection, &ids, worker_id).await? {
        1 => Ok(()),
        _ => Err(sqlx::Error::Protocol(format!("the queue does not give out the job {}", job.id)).into()),
    }
}

/// A job that waits.
struct Waiting {
    id: Uuid,
    place: Place,
    needs: Needs,
    since_turn: Duration,
    longest_wait: Duration,
}

/// Of each model the first job, and the first that needs the LoRAs that are applied.
async fn candidates(connection: &mut PgConnection, worker: &WorkerState) -> Result<Vec<Waiting>, StoreError> {
    const SELECT: &str = concat!(
        "SELECT job.id, job.model, job.loras, job.tag, job.sequence, clock.now - job.turn_at AS since_turn FROM (SELECT ",
        now!(),
        " AS now) AS clock, unnest($1::text[], $2::text[]) AS able(model, applied) CROSS JOIN LATERAL ( \
            SELECT * FROM (SELECT * FROM studio.jobs WHERE status = 'queued' AND model = able.model AND form <= $3 \
             ORDER BY tag, sequence LIMIT 1 FOR UPDATE SKIP LOCKED) AS first \
            UNION ALL \
            SELECT * FROM (SELECT * FROM studio.jobs WHERE status = 'queued' AND model = able.model AND loras = able.applied \
             AND form <= $3 ORDER BY tag, sequence LIMIT 1 FOR UPDATE SKIP LOCKED) AS ready) AS job"
    );
    let models: Vec<&str> = worker.able().map(|cost| &*cost.model).collect();
    let applied: Vec<Option<&str>> = models.iter().map(|model| worker.applied(model).map(|loras| &**loras)).collect();
    let rows = sqlx::query(SELECT).bind(models).bind(applied).bind(FORM).fetch_all(connection).await?;
    rows.iter().map(waiting).collect()
}

fn waiting(row: &PgRow) -> Result<Waiting, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map(Arc::from);
    Ok(Waiting {
        id: row.try_get("id")?,
        place: Place { tag: row.try_get::<i64, _>("tag")? as u64, sequence: row.try_get::<i64, _>("sequence")? as u64 },
        needs: Needs { model: text("model")?, loras: text("loras")? },
        since_turn: seconds_of(row.try_get("since_turn")?),
        longest_wait: Duration::ZERO,
    })
}

fn seconds_of(seconds: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0).max(0.0)).unwrap_or_default()
}

/// The job runs from now on; it counts for its user, and time goes on to those whose turn it is: as `FairOrder::take` has it.
/// Workers meet at the row of that time once a round.
async fn take(connection: &mut PgConnection, job: &Waiting, first: Place, worker_id: &str) -> Result<PgRow, StoreError> {
    const TAKE: &str = concat!(
        "WITH taken AS (UPDATE studio.jobs SET status = 'running', attempts = attempts + 1, worker = $2, images = '[]', \
            started_at = ",
        now!(),
        " WHERE id = $1 RETURNING *), \
         time AS (INSERT INTO studio.models AS known (model, now) SELECT model, $3 FROM taken \
            WHERE NOT EXISTS (SELECT 1 FROM studio.models WHERE model = taken.model AND now >= $3) \
            ON CONFLICT (model) DO UPDATE SET now = excluded.now WHERE known.now < excluded.now), \
         served AS (INSERT INTO studio.users AS known (model, user_name, next) SELECT model, user_name, tag + 1 FROM taken \
            ON CONFLICT (model, user_name) DO UPDATE SET next = excluded.next WHERE known.next < excluded.next), \
         turn AS (UPDATE studio.jobs SET turn_at = ",
        now!(),
        " WHERE turn_at IS NULL AND id = (SELECT next.id FROM studio.jobs AS next, taken \
            WHERE next.status = 'queued' AND next.model = taken.model AND next.user_name = taken.user_name \
            AND next.id <> taken.id ORDER BY next.tag, next.sequence LIMIT 1)) \
         SELECT * FROM taken"
    );
    let row = sqlx::query(TAKE).bind(job.id).bind(worker_id).bind(first.tag as i64).fetch_one(connection).await?;
    Ok(row)
}
