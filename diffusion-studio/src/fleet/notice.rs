//! What processes tell each other through the database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jobs::Progress;

/// A job is to be looked at by those who show it: [`JobNotice`].
pub(super) const JOBS: &str = "studio_jobs";
/// A job is to be looked at by who draws it: [`JobNotice`].
pub(super) const STOPS: &str = "studio_stops";
/// How far a job is: [`ProgressNotice`].
pub(super) const PROGRESS: &str = "studio_progress";
/// Jobs that somebody watches: a list of names.
pub(super) const WATCHED: &str = "studio_watched";
/// The queue has a job: [`JobNotice`] and more. Told by apalis for those that are new.
pub(super) const NEW: &str = "apalis::job::insert";

/// A job is to be looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobNotice {
    pub(super) id: Uuid,
}

/// How far a job is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProgressNotice {
    pub(super) id: Uuid,
    pub(super) progress: Option<Progress>,
    /// A new preview lies in the store.
    pub(super) preview: Option<PreviewNotice>,
}

/// A new preview lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PreviewNotice {
    pub(super) step: usize,
    pub(super) image: usize,
}
