//! Models by name, from a hub on the loopback.

mod downloads;
mod programs;
mod server;

use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}
