//! Forgetting what is old.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::ObjectStore;
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use super::rows::from_json;
use super::upkeep::forget;
use crate::caches::sweep;
use crate::jobs::{JobImage, StoreError};
use crate::refusal::Causes;
use crate::request::Drawing;

/// A process looks so often whether it is time to forget what is old.
const INTERVAL: Duration = Duration::from_mins(10);
/// What lies in the store for a job that is drawn now is not needed for longer.
const PASSING: Duration = Duration::from_hours(24);

/// Forget jobs and pictures that are older than `kept`, now and then.
pub(super) async fn clean_up(pool: PgPool, store: Arc<dyn ObjectStore>, kept: Duration, ending: CancellationToken) {
    loop {
        if let Err(error) = clean_up_once(&pool, &store, kept).await {
            tracing::warn!(error = %Causes(&error), "what is old could not be forgotten");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = ending.cancelled() => return,
        }
    }
}

async fn clean_up_once(pool: &PgPool, store: &Arc<dyn ObjectStore>, kept: Duration) -> Result<(), StoreError> {
    // One process is enough, and it has not to be done at each start of one.
    if !forget(pool, kept).await? {
        return Ok(());
    }
    let needed = needed(pool).await?;
    for (kind, age) in [("pictures", kept), ("inputs", kept), ("previews", PASSING), ("checks", PASSING)] {
        let Some(before) = SystemTime::now().checked_sub(age) else { continue };
        let swept = sweep(store.clone(), kind, before, |name| needed.contains(name)).await;
        if swept.removed > 0 {
            tracing::info!(kind, removed = swept.removed, "old files were removed from the store");
        }
    }
    Ok(())
}

/// Files of jobs that are listed, and of those that are still to be drawn.
async fn needed(pool: &PgPool) -> Result<HashSet<String>, StoreError> {
    const PICTURES: &str = "SELECT images FROM studio.jobs WHERE status = 'completed'";
    const INPUTS: &str = "SELECT drawing FROM studio.jobs WHERE status IN ('queued', 'running')";
    let mut needed = HashSet::new();
    for row in sqlx::query(PICTURES).fetch_all(pool).await? {
        let images: Vec<JobImage> = from_json(&row, "images")?;
        needed.extend(images.into_iter().map(|image| image.file));
    }
    for row in sqlx::query(INPUTS).fetch_all(pool).await? {
        let text: String = row.try_get("drawing")?;
        // What another version of the program is to draw does not read.
        let Some(init) = serde_json::from_str::<Drawing>(&text).ok().and_then(|drawing| drawing.init) else { continue };
        needed.extend([Some(init.image), init.mask].into_iter().flatten());
    }
    Ok(needed)
}
