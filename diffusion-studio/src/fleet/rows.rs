//! Rows of jobs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::jobs::{Job, JobState, Place, Status, StoreError, StoredJob};

/// Version of the form in which drawings are written.
pub(super) const FORM: i32 = 1;
/// The time of day, of the database: clocks of machines differ.
macro_rules! now {
    () => {
        "extract(epoch FROM clock_timestamp())::float8"
    };
}
pub(super) use now;

/// A job as a row has it.
pub(super) fn stored_job(row: &PgRow) -> Result<StoredJob, StoreError> {
    let job = Job {
        id: row.try_get("id")?,
        owner: row.try_get("owner")?,
        user: row.try_get("user_name")?,
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
        attempts: row.try_get::<i32, _>("attempts")? as u32,
        cached: row.try_get("cached")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        images: from_json(row, "images")?,
        error: error.map(|error| serde_json::from_str(&error)).transpose()?,
        ..JobState::queued(from_json(row, "warnings")?)
    };
    Ok(StoredJob { job, place, state, request_digest: row.try_get("request_digest")? })
}

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value)?)
}

pub(super) fn from_json<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    Ok(serde_json::from_str(&text)?)
}
