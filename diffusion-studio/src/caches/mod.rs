//! What is kept so that work is done once.

mod files;

pub(crate) use files::{FileCache, FileCacheError};
