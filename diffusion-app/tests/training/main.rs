//! Pictures with captions, from folders as people have them to batches.

mod batches;
mod common;
mod encoding;
mod fingerprints;
mod folders;
mod refusals;
