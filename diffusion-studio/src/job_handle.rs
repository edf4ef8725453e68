//! A job in the hands of who asked for it.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use crate::jobs::{JobState, LiveJob};
use crate::refusal::{Refusal, RefusalKind};
use crate::request::Drawing;
use crate::studio::Studio;

/// How long a job lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is drawn, whoever is there.
    Kept,
    /// As long as its [`JobHandle`] is there, unless it was asked for under a key, and will be asked for again.
    Attached,
}

/// A job in the hands of who asked for it.
#[derive(Debug)]
pub struct JobHandle {
    pub(crate) studio: Studio,
    pub(crate) job: Arc<LiveJob>,
    /// Whether it was there before, by its key.
    pub(crate) is_repeat: bool,
    /// Ends an attached job together with this handle.
    pub(crate) _attachment: Option<Attachment>,
}

impl JobHandle {
    /// The name of the job.
    pub fn id(&self) -> Uuid {
        self.job.job.id
    }

    /// What is drawn.
    pub fn drawing(&self) -> &Drawing {
        &self.job.job.drawing
    }

    /// The job.
    pub fn job(&self) -> &Arc<LiveJob> {
        &self.job
    }

    /// What has become of it.
    pub fn state(&self) -> JobState {
        self.job.state()
    }

    /// What becomes of it.
    pub fn watch(&self) -> watch::Receiver<JobState> {
        self.job.watch()
    }

    /// What has become of the job when it has ended.
    ///
    /// # Errors
    /// [`RefusalKind::ShuttingDown`] if the server ends before it: the job is then drawn by the next server.
    pub async fn finished(&self) -> Result<JobState, Refusal> {
        let mut watch = self.watch();
        let ended = watch.wait_for(|state| state.status.is_final());
        tokio::select! {
            ended = ended => ended.map(|state| state.clone()).map_err(|error| Refusal::internal(&error)),
            () = self.studio.ending() => {
                let message = "the server ends; the job waits for the next one";
                Err(Refusal::new(RefusalKind::ShuttingDown, message).retry_after(std::time::Duration::from_secs(5)))
            }
        }
    }
}

/// Cancels an attached job when it is dropped before the job has ended.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) studio: Studio,
    pub(crate) job: Arc<LiveJob>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // When the server ends, connections end too, and jobs wait for the next server.
        if !self.job.status().is_final() && !self.studio.is_ending() {
            tracing::info!(job = %self.job.job.id, "its client went away");
            self.studio.cancel_abandoned(&self.job);
        }
    }
}
