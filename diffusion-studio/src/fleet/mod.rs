//! Jobs that processes share: one queue in Postgres, as many front ends and workers as there are.
//!
//! - A front end ([`add`]) puts jobs into the queue of `apalis-postgres`, and beside it everything that is known of them.
//! - A worker ([`desk`]) takes the job that [`choose`](crate::jobs::choose) chooses ([`claim`]), draws it, and delivers it ([`end`]).
//! - What is told on the way ([`publish`]) goes through NOTIFY and the store; each front end mirrors all jobs that live ([`mirror`]).
//! - Every process says that it is there ([`processes`]); any of them finds what others left behind ([`upkeep`]).

mod add;
mod claim;
mod clean_up;
mod config;
mod database;
mod desk;
mod end;
mod forecast;
mod mirror;
mod notice;
#[cfg(all(test, feature = "postgres-tests"))]
#[path = "../../tests/fleet/postgres.rs"]
#[allow(dead_code, reason = "a part of it is for other tests")]
mod postgres;
mod processes;
mod publish;
mod rows;
mod shared_jobs;
#[cfg(all(test, feature = "postgres-tests"))]
mod tests;
mod upkeep;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

pub use config::{DatabaseUrl, FleetConfig, ReadUrlError};
pub(crate) use forecast::{FleetWorker, fleet_forecast};
pub(crate) use shared_jobs::{Parts, SharedJobs};

use crate::jobs::StoreError;
use crate::refusal::Causes;
use notice::JobNotice;

/// The name of the queue.
const QUEUE: &str = "studio";

/// Tell everybody who listens, when the transaction is committed.
async fn notify<'c>(executor: impl PgExecutor<'c>, channel: &str, notice: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_string(notice)?;
    sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(text).execute(executor).await?;
    Ok(())
}

/// Tell everybody who listens that a job is to be looked at, when the transaction is committed.
async fn notify_job(connection: &mut PgConnection, channel: &str, id: Uuid) -> Result<(), StoreError> {
    notify(connection, channel, &JobNotice { id }).await
}

/// Tell everybody who shows it that a job is to be looked at. Commits with notices wait for each other until they are on the disk, so what
/// happens often is told after its own commit; what is not heard is seen when all is compared.
async fn tell(pool: &PgPool, id: Uuid) {
    if let Err(error) = notify(pool, notice::JOBS, &JobNotice { id }).await {
        tracing::debug!(job = %id, error = %Causes(&error), "a job could not be told of");
    }
}

/// Jobs that were asked for at this process and have not ended: it counts them, so that each is counted once.
#[derive(Debug, Default)]
struct Own(Mutex<HashSet<Uuid>>);

impl Own {
    fn add(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Whether it was there.
    fn take(&self, id: &Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}
