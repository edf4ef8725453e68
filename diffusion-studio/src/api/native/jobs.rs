//! Asking for jobs, and looking at them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::job_view::JobView;
use crate::api::body::Body;
use crate::job_handle::Lifetime;
use crate::preview::png_of;
use crate::refusal::{Refusal, RefusalBody};
use crate::request::JobRequest;
use crate::security::Caller;
use crate::studio::Studio;
use crate::submit::Submission;

/// The name of a job in a path.
pub(super) struct JobId(pub(super) Uuid);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for JobId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Refusal> {
        let Path(id) = Path::<Uuid>::from_request_parts(parts, state).await.map_err(|_| Refusal::no_such_job())?;
        Ok(Self(id))
    }
}

/// Ask for images.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = JobRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key joins the job that was asked for under it")),
    responses((status = 202, body = JobView), (status = 200, body = JobView, description = "The job that this key asked for before"),
        (status = 400, body = RefusalBody), (status = 404, body = RefusalBody), (status = 409, body = RefusalBody),
        (status = 413, body = RefusalBody), (status = 422, body = RefusalBody), (status = 429, body = RefusalBody)))]
pub(super) async fn submit(
    State(studio): State<Studio>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<JobRequest>,
) -> Result<Response, Refusal> {
    let idempotency_key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let submission = Submission { caller: &caller, lifetime: Lifetime::Kept, idempotency_key };
    let handle = studio.submit(request, submission).await?;
    let status = if handle.is_repeat { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = [(LOCATION, format!("/api/v1/jobs/{}", handle.id()))];
    Ok((status, location, Json(JobView::of(&studio, handle.job()))).into_response())
}

/// A job of one's own.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, body = JobView), (status = 404, body = RefusalBody)))]
pub(super) async fn show(State(studio): State<Studio>, caller: Caller, JobId(id): JobId) -> Result<Json<JobView>, Refusal> {
    Ok(Json(JobView::of(&studio, &*studio.job(id, &caller).await?)))
}

/// Cancel a job of one's own. One that has ended stays as it is.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, body = JobView), (status = 404, body = RefusalBody)))]
pub(super) async fn cancel(State(studio): State<Studio>, caller: Caller, JobId(id): JobId) -> Result<Json<JobView>, Refusal> {
    Ok(Json(JobView::of(&studio, &*studio.cancel(id, &caller).await?)))
}

/// What a running job will be like, a pixel per latent pixel.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/preview", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, content_type = "image/png"), (status = 404, body = RefusalBody)))]
pub(super) async fn preview(State(studio): State<Studio>, caller: Caller, JobId(id): JobId) -> Result<Response, Refusal> {
    let job = studio.job(id, &caller).await?;
    let preview = job.state().preview.ok_or_else(|| Refusal::new(crate::RefusalKind::NotFound, "there is no preview now"))?;
    Ok(([(CONTENT_TYPE, "image/png")], png_of(&preview.picture)).into_response())
}
