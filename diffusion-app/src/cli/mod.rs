//! What programs for a terminal share.

#[cfg(feature = "hub")]
mod downloads;
mod progress;
mod repository_hint;
mod run;
mod signals;
mod stdout;

#[cfg(feature = "hub")]
pub use downloads::Downloads;
pub use progress::{Stage, Verbosity};
pub use repository_hint::repository_hint;
pub use run::{run, run_with_help};
pub use stdout::{PrintError, print, printable, say};
