//! Jobs from being asked for to being finished.

mod estimate;
mod fleet_order;
mod forecast;
mod job;
mod keeper;
mod local;
mod order;
mod placement;
mod queue;
mod sqlite;
mod state;

pub(crate) use estimate::{Speeds, WorkKey, steps};
pub use fleet_order::{FleetOrder, Offer, Taken, Ticket};
pub use forecast::Expected;
pub(crate) use forecast::{Loaded, seconds_left};
pub use job::{Job, LiveJob};
pub(crate) use keeper::{Added, HistoryPage, Idempotency, JobKeeper, MOST_ATTEMPTS, NewJob, Room, StoreError, StoredJob};
pub(crate) use local::LocalJobs;
pub use order::{FairOrder, Place};
pub use placement::{Candidate, Decision, Effort, ModelCost, Needs, Patience, WorkerState, choose};
pub(crate) use queue::Queue;
pub use state::{JobError, JobImage, JobState, Preview, Progress, Stage, Status};
