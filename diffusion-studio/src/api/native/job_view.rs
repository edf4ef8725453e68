//! A job as JSON.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::jobs::{Expected, JobError, JobImage, JobState, LiveJob, Progress, Status};
use crate::request::{Drawing, JobKind, JobRequest};
use crate::studio::Studio;

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    /// Its name.
    id: Uuid,
    /// What it is drawn from.
    kind: JobKind,
    /// Name of the model.
    model: String,
    /// Where it is.
    pub(crate) status: Status,
    /// 0 if it runs, 1 if it is next; `null` if it has ended.
    position: Option<usize>,
    /// Jobs before it.
    ahead: Option<usize>,
    /// Seconds until it is finished, if that is known.
    eta_seconds: Option<f64>,
    /// Seconds until it starts, if that is known.
    wait_seconds: Option<f64>,
    /// When it was asked for, in seconds since 1970.
    queued_at: f64,
    /// When it was begun.
    started_at: Option<f64>,
    /// When it ended.
    finished_at: Option<f64>,
    /// How often it was begun.
    attempts: u32,
    /// Whether its images were there before.
    cached: bool,
    /// How far it is.
    progress: Option<Progress>,
    /// What it will be like.
    preview_url: Option<String>,
    /// Its finished images.
    images: Vec<ImageView>,
    /// The request, with everything filled in.
    request: JobRequest,
    /// What there is to say about it.
    warnings: Vec<String>,
    /// Why it failed.
    error: Option<JobError>,
    /// When it is no longer listed.
    expires_at: Option<f64>,
    /// Where to go from here.
    links: Links,
}

/// A finished image.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ImageView {
    /// Where it is.
    url: String,
    /// Its seed.
    seed: u64,
    /// Width in pixels.
    width: usize,
    /// Height in pixels.
    height: usize,
    /// Its media type.
    mime: &'static str,
}

/// Where to go from a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    events: String,
    cancel: String,
}

impl ImageView {
    pub(crate) fn new(image: &JobImage, drawing: &Drawing) -> Self {
        let JobImage { seed, width, height, .. } = *image;
        Self { url: image.url(), seed, width, height, mime: drawing.output.format.mime() }
    }
}

impl JobView {
    /// A job as it is now.
    pub(crate) fn of(studio: &Studio, job: &LiveJob) -> Self {
        Self::new(studio, job, job.state())
    }

    /// A job as it was in this state.
    pub(crate) fn new(studio: &Studio, live: &LiveJob, state: JobState) -> Self {
        let job = &live.job;
        let expected = if state.status.is_final() { None } else { studio.expected(live) };
        let Expected { ahead, wait, eta } = expected.unwrap_or_default();
        let position = if state.status == Status::Running { 0 } else { ahead.max(1) };
        let link = format!("/api/v1/jobs/{}", job.id);
        let guidance = studio.registry().model(&job.drawing.model).map(|model| model.info.guidance);
        Self {
            id: job.id,
            kind: job.drawing.kind,
            model: job.drawing.model.clone(),
            status: state.status,
            position: expected.map(|_| position),
            ahead: expected.map(|_| ahead),
            eta_seconds: eta,
            wait_seconds: wait,
            queued_at: job.queued_at,
            started_at: state.started_at,
            finished_at: state.finished_at,
            attempts: state.attempts,
            cached: state.cached,
            progress: state.progress,
            preview_url: state.preview.is_some().then(|| format!("{link}/preview")),
            images: state.images.iter().map(|image| ImageView::new(image, &job.drawing)).collect(),
            request: job.drawing.as_request(guidance.unwrap_or(diffusion_models::GuidanceKind::ClassifierFree)),
            warnings: state.warnings,
            error: state.error,
            expires_at: state.finished_at.map(|finished| finished + studio.config().keep_jobs.as_secs_f64()),
            links: Links { events: format!("{link}/events"), cancel: link.clone(), this: link },
        }
    }
}
