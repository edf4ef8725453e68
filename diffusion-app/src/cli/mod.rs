//! What programs for a terminal share.

mod progress;
mod run;
mod signals;
mod stdout;

pub use progress::{Stage, Verbosity};
pub use run::{run, run_with_help};
pub use stdout::{PrintError, print, printable, say};
