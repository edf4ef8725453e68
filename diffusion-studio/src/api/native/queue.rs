//! The queue as one caller sees it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::job_view::JobView;
use crate::jobs::Progress;
use crate::request::JobKind;
use crate::security::Caller;
use crate::studio::Studio;

/// The queue: what others ask for is not told.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueView {
    /// The jobs that are drawn.
    running: Vec<RunningView>,
    /// Jobs that wait.
    waiting: usize,
    /// One's own jobs that are not finished, in their order.
    mine: Vec<JobView>,
    /// Seconds until all are finished, if that is known.
    eta_seconds: Option<f64>,
    /// Jobs that wait at most.
    max_queue: usize,
}

/// A running job, of anybody.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunningView {
    id: Option<Uuid>,
    mine: bool,
    model: String,
    kind: JobKind,
    width: usize,
    height: usize,
    progress: Option<Progress>,
}

/// The queue as one caller sees it.
#[utoipa::path(get, path = "/api/v1/queue", tag = "jobs", responses((status = 200, body = QueueView)))]
pub(super) async fn queue(State(studio): State<Studio>, caller: Caller) -> Json<QueueView> {
    let queue = studio.queue();
    let running = queue.running().into_iter().map(|job| {
        let mine = job.job.owner == caller.owner;
        let drawing = &job.job.drawing;
        RunningView {
            id: mine.then_some(job.job.id),
            mine,
            model: drawing.model.clone(),
            kind: drawing.kind,
            width: drawing.settings.width,
            height: drawing.settings.height,
            progress: job.state().progress,
        }
    });
    Json(QueueView {
        running: running.collect(),
        waiting: queue.len(),
        mine: queue.of_owner(&caller.owner).iter().map(|job| JobView::of(&studio, job)).collect(),
        eta_seconds: queue.forecast().all(),
        max_queue: studio.config().max_queue,
    })
}
