//! Pictures for callers who wait for them: the job ends with the connection.

use axum::http::HeaderMap;

use crate::job_handle::{JobHandle, Lifetime};
use crate::jobs::{JobState, Status};
use crate::refusal::{Refusal, RefusalKind};
use crate::request::JobRequest;
use crate::security::Caller;
use crate::studio::Studio;
use crate::submit::Submission;

/// A finished picture.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// The bytes of its file.
    pub(crate) bytes: Vec<u8>,
    /// Its seed.
    pub(crate) seed: u64,
}

/// Ask for a job that someone waits for.
///
/// # Errors
/// [`Refusal`].
pub(crate) async fn submit(
    studio: &Studio,
    caller: &Caller,
    request: JobRequest,
    headers: &HeaderMap,
) -> Result<JobHandle, Refusal> {
    let idempotency_key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    studio.submit(request, Submission { caller, lifetime: Lifetime::Attached, idempotency_key }).await
}

/// What has become of a job when its images are there.
///
/// # Errors
/// [`Refusal`] if it failed or was cancelled, or the server ends.
pub(crate) async fn finished(job: &JobHandle) -> Result<JobState, Refusal> {
    let state = job.finished().await?;
    ended(&state).map(|()| state)
}

/// Whether a job has ended well.
///
/// # Errors
/// [`Refusal`] if it failed or was cancelled.
pub(crate) fn ended(state: &JobState) -> Result<(), Refusal> {
    match (state.status, &state.error) {
        (Status::Failed, Some(error)) => {
            let is_full = error.code == RefusalKind::StorageFull.code();
            let kind = if is_full { RefusalKind::StorageFull } else { RefusalKind::Internal };
            Err(Refusal::new(kind, error.message.clone()))
        }
        (Status::Failed, None) => Err(Refusal::new(RefusalKind::Internal, "the images could not be drawn")),
        (Status::Cancelled, _) => Err(Refusal::new(RefusalKind::Conflict, "the job was cancelled before it was finished")),
        _ => Ok(()),
    }
}

/// The pictures of a job that are finished.
///
/// # Errors
/// [`Refusal`] if one is no longer there.
pub(crate) async fn pictures(studio: &Studio, state: &JobState) -> Result<Vec<Picture>, Refusal> {
    let mut pictures = Vec::with_capacity(state.images.len());
    for image in &state.images {
        let bytes = studio.picture(image).await?;
        pictures.push(Picture { bytes, seed: image.seed });
    }
    Ok(pictures)
}
