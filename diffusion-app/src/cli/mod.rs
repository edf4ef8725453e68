//! What programs for a terminal share.

mod progress;
mod run;

pub use progress::{Stage, Verbosity};
pub use run::{run, run_with_help};
