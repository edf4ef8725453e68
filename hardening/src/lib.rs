//! Every reader of files from elsewhere, as a table: its name, files that it reads, and how it is asked to.
//!
//! The tests damage those files and read them, thousands of times from fixed seeds, under a cap on memory and time. A reader may
//! refuse, by a sentence that names the file; it may not panic, hang, or take memory without measure. `MUTATIONS=100000 cargo
//! test --release -p diffusion-hardening` gives every reader that many. The targets in `fuzz/` run the same table under libFuzzer.

pub mod mutation;
pub mod peak_memory;
mod readers;
pub mod samples;

pub use readers::{READERS, Reader, fuzz, reader};
