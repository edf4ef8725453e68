//! Pictures that come bit by bit, as events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use diffusion_app::image_file::{JPEG_QUALITY, OutputFormat, encode_image};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::watch;

use super::answer::{Common, seconds};
use super::error::OpenAiError;
use super::partials::Partials;
use super::usage::Usage;
use crate::api::foreign::waited::ended;
use crate::clock;
use crate::job_handle::JobHandle;
use crate::jobs::{JobState, Preview};
use crate::preview::enlarged;
use crate::refusal::{Refusal, RefusalKind};
use crate::studio::Studio;

/// What events are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventNames {
    partial: &'static str,
    completed: &'static str,
}

impl EventNames {
    pub(super) const GENERATION: Self =
        Self { partial: "image_generation.partial_image", completed: "image_generation.completed" };
    pub(super) const EDIT: Self = Self { partial: "image_edit.partial_image", completed: "image_edit.completed" };
}

/// A picture in an event.
#[derive(Serialize)]
struct PictureEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    b64_json: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_image_index: Option<usize>,
    created_at: u64,
    #[serde(flatten)]
    common: &'a Common,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// The events of a job: pictures on the way, and those that are finished. The job ends with the connection.
pub(super) fn stream(studio: Studio, job: JobHandle, common: Common, partial_images: usize, names: EventNames) -> Response {
    /// Connections that say nothing for longer are closed by what is between.
    const PING: Duration = Duration::from_secs(10);
    let watch = job.watch();
    let events = Events {
        studio,
        job,
        watch,
        common,
        names,
        partials: Partials::new(partial_images),
        sent: 0,
        ready: VecDeque::new(),
        is_done: false,
    };
    let stream =
        unfold(events, |events| async move { events.next().await.map(|(event, events)| (Ok::<_, Infallible>(event), events)) });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(PING).text("ping")).into_response()
}

struct Events {
    studio: Studio,
    /// Cancels the job when it is dropped with the connection.
    job: JobHandle,
    watch: watch::Receiver<JobState>,
    common: Common,
    names: EventNames,
    partials: Partials,
    /// Finished images that were sent.
    sent: usize,
    ready: VecDeque<Event>,
    is_done: bool,
}

impl Events {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            if self.is_done {
                return None;
            }
            let state = self.watch.borrow_and_update().clone();
            if let Err(refusal) = self.take_in(&state).await {
                self.fail(refusal);
            }
            if !self.ready.is_empty() || self.is_done {
                continue;
            }
            let studio = self.studio.clone();
            tokio::select! {
                changed = self.watch.changed() => if changed.is_err() {
                    self.fail(Refusal::new(RefusalKind::Internal, "the job is gone"));
                },
                () = studio.ending() => self.fail(Refusal::new(RefusalKind::ShuttingDown, "the server ends")),
            }
        }
    }

    /// Make the events that a state is due.
    async fn take_in(&mut self, state: &JobState) -> Result<(), Refusal> {
        for image in &state.images[self.sent.min(state.images.len())..] {
            let bytes = self.studio.picture(image).await?;
            let usage = Usage::of(&self.studio, self.job.drawing(), 1).await?;
            let event = self.event(self.names.completed, &bytes, None, Some(usage), Some(image.seed));
            self.ready.push_back(event);
            self.sent += 1;
        }
        if state.status.is_final() {
            self.is_done = true;
            return ended(state);
        }
        let steps = state.progress.as_ref().map_or(self.job.drawing().settings.num_steps, |progress| progress.steps);
        if let Some(preview) = &state.preview
            && let Some(index) = self.partials.take(preview, steps)
        {
            let bytes = self.enlarged(preview).await?;
            let event = self.event(self.names.partial, &bytes, Some(index), None, None);
            self.ready.push_back(event);
        }
        Ok(())
    }

    /// A preview in the size and the format of the finished picture.
    async fn enlarged(&self, preview: &Arc<Preview>) -> Result<Vec<u8>, Refusal> {
        let drawing = self.job.drawing();
        let (width, height) = (drawing.settings.width, drawing.settings.height);
        let quality = drawing.output.quality.unwrap_or(JPEG_QUALITY);
        let format = OutputFormat::from(drawing.output.format);
        let preview = preview.clone();
        let encode = move || encode_image(&enlarged(&preview.picture, width, height), format, quality, "");
        self.studio.blocking(encode).await?.map_err(|error| Refusal::internal(&error))
    }

    fn event(&self, kind: &'static str, bytes: &[u8], index: Option<usize>, usage: Option<Usage>, seed: Option<u64>) -> Event {
        let picture = PictureEvent {
            kind,
            b64_json: STANDARD.encode(bytes),
            partial_image_index: index,
            created_at: seconds(clock::now()),
            common: &self.common,
            usage,
            seed,
        };
        named(kind, &picture)
    }

    fn fail(&mut self, refusal: Refusal) {
        self.ready.push_back(named("error", &OpenAiError(refusal).body()));
        self.is_done = true;
    }
}

fn named(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // What is serialized here has no keys that JSON lacks.
    event.json_data(data).unwrap_or_else(|_| Event::default().event("error").data(r#"{"error":{"message":"unreadable"}}"#))
}
