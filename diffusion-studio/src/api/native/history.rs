//! Finished pictures of one's own.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::job_view::JobView;
use super::jobs::JobId;
use crate::jobs::{HistoryPage, StoredJob};
use crate::refusal::{Refusal, RefusalBody, RefusalKind};
use crate::security::Caller;
use crate::studio::Studio;

/// Which part of the history is asked for.
#[derive(Deserialize, IntoParams)]
pub(super) struct HistoryQuery {
    /// Number of jobs, at most 200.
    limit: Option<u32>,
    /// Only those that ended before this, in seconds since 1970.
    before: Option<f64>,
}

/// Finished jobs, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryView {
    jobs: Vec<JobView>,
    /// Whether there are older ones.
    more: bool,
}

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// Finished pictures of one's own, the newest first.
#[utoipa::path(get, path = "/api/v1/history", tag = "history", params(HistoryQuery),
    responses((status = 200, body = HistoryView), (status = 422, body = RefusalBody)))]
pub(super) async fn history(
    State(studio): State<Studio>,
    caller: Caller,
    query: Result<Query<HistoryQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<HistoryView>, Refusal> {
    let Query(HistoryQuery { limit, before }) = query.map_err(|error| Refusal::new(RefusalKind::Invalid, error.body_text()))?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let page = HistoryPage { before: before.unwrap_or(f64::MAX), limit: limit + 1 };
    let mut found = studio.jobs().history(&caller.owner, page).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let view = |stored: StoredJob| JobView::of(&studio, &stored.live());
    Ok(Json(HistoryView { jobs: found.into_iter().map(view).collect(), more }))
}

/// Remove a finished job of one's own and its pictures.
#[utoipa::path(delete, path = "/api/v1/history/{id}", tag = "history", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = RefusalBody), (status = 409, body = RefusalBody)))]
pub(super) async fn forget(State(studio): State<Studio>, caller: Caller, JobId(id): JobId) -> Result<StatusCode, Refusal> {
    studio.forget(id, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
