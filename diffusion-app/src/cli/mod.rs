//! What programs for a terminal share.

#[cfg(feature = "hub")]
mod downloads;
mod given;
mod model_in_use;
pub mod numbers;
mod progress;
mod repository_hint;
mod run;
mod signals;
mod sources;
mod stdout;

#[cfg(feature = "hub")]
pub use downloads::Downloads;
pub use given::display_name;
pub use model_in_use::ModelInUse;
pub use progress::{Stage, Verbosity};
pub use repository_hint::repository_hint;
pub use run::{run, run_server, run_with_help};
pub use sources::{GivenSources, Sources, list_models};
pub use stdout::{PrintError, print, printable, say};
