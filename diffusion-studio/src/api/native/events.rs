//! What becomes of a job, as it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::job_view::{ImageView, JobView};
use super::jobs::JobId;
use crate::jobs::{Expected, JobState, LiveJob, Preview, Progress, Status};
use crate::preview::png_of;
use crate::refusal::{Refusal, RefusalBody};
use crate::security::Caller;
use crate::studio::Studio;

/// A connection says something at least so often.
const PING: Duration = Duration::from_secs(15);
/// When browsers ask again after a connection was lost.
const RETRY: Duration = Duration::from_secs(3);
/// Events that a slow reader has not taken yet; what comes then is left out, not kept.
const BUFFER: usize = 4;
/// Positions are told at most so often.
const BETWEEN_POSITIONS: Duration = Duration::from_millis(250);

/// What becomes of a job: first a `snapshot`, then `position`, `progress`, `preview` and `image`, and one last `completed`,
/// `failed` or `cancelled`.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", params(("id" = Uuid, Path)),
    responses((status = 200, content_type = "text/event-stream"), (status = 404, body = RefusalBody)))]
pub(super) async fn events(
    State(studio): State<Studio>,
    caller: Caller,
    JobId(id): JobId,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let job = studio.job(id, &caller).await?;
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        // Who went away hears nothing more.
        let _ = tell(&studio, &job, &sender).await;
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(PING).text("ping")))
}

type Sent = Result<(), mpsc::error::SendError<Result<Event, Infallible>>>;

/// Tell a job from now to its end. Who reads slowly gets what is newest then.
async fn tell(studio: &Studio, job: &Arc<LiveJob>, to: &mpsc::Sender<Result<Event, Infallible>>) -> Sent {
    let mut states = job.watch();
    let mut changes = studio.queue().watch();
    let mut told = News::default();
    let state = states.borrow_and_update().clone();
    let snapshot = event("snapshot", &JobView::new(studio, job, state.clone())).retry(RETRY);
    to.send(Ok(snapshot)).await?;
    told.is_told(&state);
    if state.status.is_final() {
        return to.send(Ok(event(state.status.name(), &JobView::new(studio, job, state)))).await;
    }
    loop {
        tokio::select! {
            changed = states.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let state = states.borrow_and_update().clone();
                for event in told.news(&state, job) {
                    to.send(Ok(event)).await?;
                }
                if state.status.is_final() {
                    return to.send(Ok(event(state.status.name(), &JobView::new(studio, job, state)))).await;
                }
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                changes.borrow_and_update();
                if let Some(position) = told.position(studio, job) {
                    to.send(Ok(position)).await?;
                }
            }
            () = to.closed() => return Ok(()),
            () = studio.ending() => return Ok(()),
        }
    }
}

/// What was told already.
#[derive(Default)]
struct News {
    progress: Option<Progress>,
    preview: Option<Arc<Preview>>,
    images: usize,
    ahead: Option<usize>,
    last_position: Option<Instant>,
}

impl News {
    fn is_told(&mut self, state: &JobState) {
        self.progress.clone_from(&state.progress);
        self.images = state.images.len();
    }

    /// Events for what is new.
    fn news(&mut self, state: &JobState, job: &LiveJob) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(progress) = state.progress.as_ref().filter(|progress| self.progress.as_ref() != Some(progress)) {
            events.push(event("progress", progress));
        }
        if let Some(preview) = &state.preview
            && self.preview.as_ref().is_none_or(|told| !Arc::ptr_eq(told, preview))
        {
            let picture = STANDARD.encode(png_of(&preview.picture));
            let told = json!({ "mime": "image/png", "b64": picture, "step": preview.step, "image": preview.image });
            events.push(event("preview", &told));
            self.preview = Some(preview.clone());
        }
        let new = state.images.iter().skip(self.images);
        events.extend(new.map(|image| event("image", &ImageView::new(image, &job.job.drawing))));
        self.is_told(state);
        events
    }

    /// The place in the queue, if it is another one than was told, and that was a while ago.
    fn position(&mut self, studio: &Studio, job: &LiveJob) -> Option<Event> {
        if self.last_position.is_some_and(|last| last.elapsed() < BETWEEN_POSITIONS) {
            return None;
        }
        let Expected { ahead, wait, eta } = studio.expected(job)?;
        if self.ahead.replace(ahead) == Some(ahead) {
            return None;
        }
        self.last_position = Some(Instant::now());
        let position = if job.status() == Status::Running { 0 } else { ahead.max(1) };
        let told = json!({ "position": position, "ahead": ahead, "eta_seconds": eta, "wait_seconds": wait });
        Some(event("position", &told))
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    Event::default().event(name).json_data(data).unwrap_or_else(|error| Event::default().event("error").data(error.to_string()))
}
