//! Who is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::WorkerContext;
use apalis_postgres::queries::keep_alive;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::QUEUE;
use super::database::of_apalis;
use super::rows::{from_json, json, now};
use crate::jobs::{ModelCost, Needs, Speeds, StoreError, WorkKey, WorkerState};

/// A process among those that share a queue.
#[derive(Clone, Debug)]
pub(super) struct Process {
    /// Tells it from all others, also from those of the same name and from those before it.
    pub(super) id: String,
    /// What people call it; speeds are remembered under it.
    pub(super) name: String,
    pub(super) device: String,
}

/// What a worker tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Bytes that models may take.
    pub(super) memory: u64,
    /// Models with the bytes that drawing with them takes at least.
    pub(super) models: Vec<(String, u64)>,
    /// Models that are loaded, with their LoRAs.
    pub(super) loaded: Vec<(String, String)>,
}

/// A worker that is there.
#[derive(Clone, Debug)]
pub(super) struct KnownWorker {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) told: Told,
}

impl Told {
    /// What is loaded.
    pub(super) fn needs(&self) -> Vec<Needs> {
        let needs = |(model, loras): &(String, String)| Needs { model: model.as_str().into(), loras: loras.as_str().into() };
        self.loaded.iter().map(needs).collect()
    }

    /// The worker as those see it who place jobs. What was never measured counts for a guess.
    pub(super) fn state(&self, speeds: &Speeds) -> WorkerState {
        const LOAD: f64 = 10.0;
        const SWITCH: f64 = 1.0;
        let seconds = |key: WorkKey, guess| Duration::try_from_secs_f64(speeds.get(&key).unwrap_or(guess)).unwrap_or_default();
        let cost = |(model, bytes): &(String, u64)| ModelCost {
            model: model.as_str().into(),
            bytes: *bytes,
            load: seconds(WorkKey::load(model), LOAD),
            switch: seconds(WorkKey::switch(model), SWITCH),
        };
        WorkerState { memory: self.memory, models: self.models.iter().map(cost).collect(), loaded: self.needs() }
    }
}

impl Process {
    /// Say that a front end is there.
    pub(super) async fn beat_as_front(&self, pool: &PgPool) -> Result<(), StoreError> {
        self.say(pool, "front", "{}").await
    }

    /// Say that a worker is there, to the queue as well.
    pub(super) async fn beat_as_worker(&self, pool: &PgPool, told: &Told) -> Result<(), StoreError> {
        // As the queue's own registration, but for the time, which is that of the database.
        const REGISTER: &str = "INSERT INTO apalis.workers (id, worker_type, storage_name, layers, last_seen) \
            VALUES ($1, $2, 'PgStorage', '', now()) ON CONFLICT (id) DO NOTHING";
        sqlx::query(REGISTER).bind(&self.id).bind(QUEUE).execute(pool).await?;
        let mut connection = pool.acquire().await?;
        keep_alive(&mut *connection, QUEUE, &WorkerContext::new(&self.id)).await.map_err(of_apalis)?;
        drop(connection);
        self.say(pool, "worker", &json(told)?).await
    }

    async fn say(&self, pool: &PgPool, kind: &str, state: &str) -> Result<(), StoreError> {
        const UPSERT: &str = concat!(
            "INSERT INTO studio.processes (id, kind, name, device, state, started_at, seen) VALUES ($1, $2, $3, $4, $5, ",
            now!(),
            ", ",
            now!(),
            ") ON CONFLICT (id, kind) DO UPDATE SET state = excluded.state, seen = excluded.seen"
        );
        sqlx::query(UPSERT).bind(&self.id).bind(kind).bind(&self.name).bind(&self.device).bind(state).execute(pool).await?;
        Ok(())
    }

    /// Say that it goes.
    pub(super) async fn leave(&self, pool: &PgPool) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM studio.processes WHERE id = $1").bind(&self.id).execute(pool).await?;
        Ok(())
    }
}

/// The workers that are there.
pub(super) async fn workers(pool: &PgPool, timeout: Duration) -> Result<Vec<KnownWorker>, StoreError> {
    const SELECT: &str =
        concat!("SELECT id, name, state FROM studio.processes WHERE kind = 'worker' AND seen > ", now!(), " - $1 ORDER BY id");
    let worker =
        |row: &PgRow| Ok(KnownWorker { id: row.try_get("id")?, name: row.try_get("name")?, told: from_json(row, "state")? });
    sqlx::query(SELECT).bind(timeout.as_secs_f64()).fetch_all(pool).await?.iter().map(worker).collect()
}

/// On how many workers each model is loaded.
pub(super) fn loaded_on(workers: &[KnownWorker]) -> HashMap<Arc<str>, usize> {
    let mut counts = HashMap::new();
    for needs in workers.iter().flat_map(|worker| worker.told.needs()) {
        *counts.entry(needs.model).or_insert(0) += 1;
    }
    counts
}

/// Seconds of work on each worker, by its name.
pub(super) async fn speeds(pool: &PgPool) -> Result<HashMap<String, Speeds>, StoreError> {
    let rows = sqlx::query("SELECT worker, work, seconds FROM studio.speeds").fetch_all(pool).await?;
    let mut speeds: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for row in rows {
        let of_worker = speeds.entry(row.try_get("worker")?).or_default();
        of_worker.insert(row.try_get("work")?, row.try_get("seconds")?);
    }
    Ok(speeds.into_iter().map(|(worker, seconds)| (worker, Speeds::new(seconds))).collect())
}

/// Remember how long work took on a worker.
pub(super) async fn set_speed(pool: &PgPool, worker: &str, work: &str, seconds: f64) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO studio.speeds (worker, work, seconds) VALUES ($1, $2, $3) \
        ON CONFLICT (worker, work) DO UPDATE SET seconds = excluded.seconds";
    sqlx::query(UPSERT).bind(worker).bind(work).bind(seconds).execute(pool).await?;
    Ok(())
}
