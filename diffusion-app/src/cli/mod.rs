//! What programs for a terminal share.

mod progress;
mod run;

pub use progress::Verbosity;
pub use run::run;
