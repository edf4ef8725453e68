//! What becomes of a job.

use std::sync::Arc;

use diffusion_core::image::RgbImage;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// It waits.
    Queued,
    /// It is drawn.
    Running,
    /// Its images are there.
    Completed,
    /// It could not be drawn.
    Failed,
    /// It was taken back.
    Cancelled,
}

impl Status {
    /// Whether nothing happens any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a running job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stage {
    /// Weights are loaded.
    Load,
    /// The prompt, or the image to start from, is encoded.
    Encode,
    /// Steps are run.
    Sample,
    /// Latents become an image.
    Decode,
}

/// How far a running job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// The component that is loaded.
    pub component: Option<String>,
    /// Bytes of it that are.
    pub done: usize,
    /// Bytes of it.
    pub total: usize,
    /// The image that is drawn, counted from 1.
    pub image: usize,
    /// Number of images.
    pub images: usize,
    /// Steps of it that are finished.
    pub step: usize,
    /// Number of steps.
    pub steps: usize,
    /// Seconds that a step takes.
    pub seconds_per_step: Option<f64>,
}

/// What an image will be like.
#[derive(Debug)]
pub struct Preview {
    /// The step after which it was made, counted from 1.
    pub step: usize,
    /// The image that it shows, counted from 1.
    pub image: usize,
    /// A pixel per latent pixel.
    pub picture: RgbImage,
}

/// A finished image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobImage {
    /// Its file among the pictures.
    pub file: String,
    /// Its seed.
    pub seed: u64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl JobImage {
    /// Where the server has it.
    pub fn url(&self) -> String {
        // `NAME-INDEX.EXTENSION`
        self.file.rsplit_once('-').map_or_else(String::new, |(name, rest)| format!("/images/{name}/{rest}"))
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl JobError {
    /// An error of this kind.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// A job is written in a form that this program does not know.
    pub(crate) fn unreadable() -> Self {
        Self::new("unreadable", "the job was asked for with another version of the program")
    }

    /// The program that drew a job ended, so often that nobody tries again.
    pub(crate) fn crashed(attempts: u32) -> Self {
        Self::new("crashed", format!("the server ended {attempts} times while it drew this"))
    }
}

/// What becomes of a job.
#[derive(Clone, Debug)]
pub struct JobState {
    /// Where it is.
    pub status: Status,
    /// How often it was begun.
    pub attempts: u32,
    /// Whether its images were there before.
    pub cached: bool,
    /// When it was begun last, in seconds since 1970.
    pub started_at: Option<f64>,
    /// When it ended.
    pub finished_at: Option<f64>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// What it will be like.
    pub preview: Option<Arc<Preview>>,
    /// The images that are finished.
    pub images: Vec<JobImage>,
    /// What there is to say about it.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<JobError>,
}

impl JobState {
    /// A job that waits.
    pub fn queued(warnings: Vec<String>) -> Self {
        Self {
            status: Status::Queued,
            attempts: 0,
            cached: false,
            started_at: None,
            finished_at: None,
            progress: None,
            preview: None,
            images: Vec::new(),
            warnings,
            error: None,
        }
    }

    /// The job is begun now.
    pub(crate) fn begin(&mut self) {
        self.status = Status::Running;
        self.attempts += 1;
        self.started_at = Some(crate::clock::now());
        self.images.clear();
    }

    /// The job waits again; where it was nobody's fault, the attempt does not count.
    pub(crate) fn wait_again(&mut self, counts: bool) {
        self.status = Status::Queued;
        self.attempts -= u32::from(!counts);
        (self.progress, self.preview) = (None, None);
        self.images.clear();
    }

    /// The job ends like this now.
    pub(crate) fn end(&mut self, status: Status, error: Option<JobError>) {
        (self.status, self.error) = (status, error);
        (self.progress, self.preview) = (None, None);
        self.finished_at = Some(crate::clock::now());
    }
}
