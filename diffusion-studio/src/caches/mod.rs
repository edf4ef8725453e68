//! What is kept so that work is done once, and what several machines share.

#[cfg(test)]
mod fake_s3;
mod files;
mod kept_files;
mod open_store;
mod previews;
mod shared_files;
mod store_access;
#[cfg(test)]
mod store_tests;
mod store_url;
mod sweep;

pub(crate) use files::{FileCache, FileCacheError};
pub(crate) use kept_files::Files;
pub(crate) use previews::Previews;
pub(crate) use shared_files::SharedFiles;
pub(crate) use store_access::check_store;
pub use store_url::{StoreUrl, StoreUrlError};
pub(crate) use sweep::sweep;
