//! What a worker tells of the job that it draws.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::end::tell_images;
use super::notice::{PROGRESS, PreviewNotice, ProgressNotice};
use super::notify;
use crate::caches::Previews;
use crate::jobs::{JobState, LiveJob, Preview, Progress, StoreError};
use crate::preview::png_of;
use crate::refusal::Causes;

/// Progress is told at most so often.
const BETWEEN_NUMBERS: Duration = Duration::from_millis(100);
/// Previews are told at most so often.
const BETWEEN_PREVIEWS: Duration = Duration::from_millis(500);

/// Tell others how far the job is that is drawn, until the process ends.
pub(super) async fn publish(desk: Arc<Desk>, previews: Previews, ending: CancellationToken) {
    let mut told = Told::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_NUMBERS) => {}
            () = ending.cancelled() => return,
        }
        let Some(job) = desk.current() else {
            told = Told::default();
            continue;
        };
        if let Err(error) = told.tell(&desk, &previews, &job).await {
            // Whoever watches sees the end all the same.
            tracing::debug!(job = %job.job.id, error = %Causes(&error), "progress could not be told");
        }
    }
}

/// What was told already.
#[derive(Default)]
struct Told {
    job: Option<uuid::Uuid>,
    progress: Option<Progress>,
    preview: Option<Arc<Preview>>,
    preview_at: Option<Instant>,
    images: usize,
    warnings: usize,
}

impl Told {
    async fn tell(&mut self, desk: &Desk, previews: &Previews, job: &LiveJob) -> Result<(), StoreError> {
        let state = job.state();
        if self.job != Some(job.job.id) {
            *self = Self { job: Some(job.job.id), warnings: state.warnings.len(), ..Self::default() };
        }
        let (pool, id) = (&desk.pool, job.job.id);
        if (state.images.len(), state.warnings.len()) != (self.images, self.warnings) {
            tell_images(pool, &desk.process.id, id, &state).await?;
            (self.images, self.warnings) = (state.images.len(), state.warnings.len());
        }
        let preview = self.new_preview(previews, job, &state).await;
        if state.progress != self.progress || preview.is_some() {
            self.progress.clone_from(&state.progress);
            let notice = ProgressNotice { id, progress: state.progress, preview };
            notify(pool, PROGRESS, &notice).await?;
        }
        Ok(())
    }

    /// Put a new preview into the store, if the last one was there long enough.
    async fn new_preview(&mut self, previews: &Previews, job: &LiveJob, state: &JobState) -> Option<PreviewNotice> {
        let preview = state.preview.as_ref()?;
        let is_told = self.preview.as_ref().is_some_and(|told| Arc::ptr_eq(told, preview));
        if is_told || self.preview_at.is_some_and(|told| told.elapsed() < BETWEEN_PREVIEWS) {
            return None;
        }
        (self.preview, self.preview_at) = (Some(preview.clone()), Some(Instant::now()));
        match previews.put(job.job.id, png_of(&preview.picture)).await {
            Ok(()) => Some(PreviewNotice { step: preview.step, image: preview.image }),
            Err(error) => {
                tracing::debug!(job = %job.job.id, error = %Causes(&error), "a preview could not be stored");
                None
            }
        }
    }
}
