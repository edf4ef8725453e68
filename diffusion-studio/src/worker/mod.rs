//! The thread that owns the device and the pipelines, and draws one job after the other.

mod draw;
mod draw_error;
mod finish;
mod pipelines;
mod progress;

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio_util::sync::DropGuard;

use crate::jobs::{JobError, LiveJob, MOST_ATTEMPTS, Status};
use crate::studio::Studio;
use draw_error::DrawError;
use pipelines::Pipelines;

/// Start the worker. It holds `data_lock` as long as it runs, and then says that it has `ended`.
pub(crate) fn start(studio: Studio, data_lock: File, ended: DropGuard) -> io::Result<()> {
    let work = move || {
        Worker { pipelines: Pipelines::new(&studio), studio }.run();
        drop(data_lock);
        drop(ended);
    };
    std::thread::Builder::new().name("worker".to_owned()).spawn(work).map(drop)
}

struct Worker {
    studio: Studio,
    pipelines: Pipelines,
}

/// What becomes of a job after an attempt.
enum Outcome {
    Ended(Status, Option<JobError>),
    /// It goes back to its place. If it was the server's fault, the attempt does not count.
    HandBack {
        counts: bool,
    },
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.studio.jobs().next(self.pipelines.loaded()) {
            self.attempt(&job);
        }
    }

    fn attempt(&mut self, job: &Arc<LiveJob>) {
        let span = tracing::info_span!("job", id = %job.job.id);
        let drawn = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| draw::draw(&self.studio, &mut self.pipelines, job))));
        let outcome = match drawn {
            Ok(Ok(())) => Outcome::Ended(Status::Completed, None),
            Ok(Err(DrawError::Cancelled)) if job.is_cancelled() => Outcome::Ended(Status::Cancelled, None),
            Ok(Err(DrawError::Cancelled)) => Outcome::HandBack { counts: false },
            Ok(Err(DrawError::Failed(error))) => Outcome::Ended(Status::Failed, Some(error)),
            Err(panic) => {
                // What a panic left half done is not used again.
                self.pipelines.clear();
                let message = message_of(&*panic);
                tracing::error!(job = %job.job.id, message, "the worker panicked");
                if job.state().attempts < MOST_ATTEMPTS {
                    Outcome::HandBack { counts: true }
                } else {
                    let problem = format!("drawing this ended in a fault of the program, twice: {message}");
                    Outcome::Ended(Status::Failed, Some(JobError::new("crashed", problem)))
                }
            }
        };
        self.finish(job, outcome);
    }

    fn finish(&mut self, job: &Arc<LiveJob>, outcome: Outcome) {
        match outcome {
            Outcome::Ended(status, error) => {
                if let Some(error) = &error {
                    tracing::warn!(job = %job.job.id, code = error.code, message = error.message, "failed");
                }
                let mut ended = job.state();
                ended.end(status, error);
                self.studio.jobs().ended(job, ended, self.pipelines.loaded());
                tracing::info!(job = %job.job.id, status = status.name(), "ended");
            }
            Outcome::HandBack { counts } => self.studio.jobs().hand_back(job, counts),
        }
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "unknown".to_owned())
}
