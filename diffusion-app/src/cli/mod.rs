//! What programs for a terminal share.

mod progress;
mod run;
mod signals;

pub use progress::{Stage, Verbosity};
pub use run::{run, run_with_help};
