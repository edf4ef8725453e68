//! Models from the Hugging Face hub: how they are named, which of a repository's files a run needs, and the way into the cache
//! that `huggingface_hub` and everything built on it share.
//!
//! Names are parsed in every build. The rest is behind the feature `hub`. What comes out is a path, so nothing below this crate
//! knows that a hub exists.

mod purpose;
mod reference;

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod connection;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod error;
#[cfg(feature = "hub")]
mod event;
#[cfg(feature = "hub")]
mod folder;
#[cfg(feature = "hub")]
mod listing;
#[cfg(feature = "hub")]
mod options;
#[cfg(feature = "hub")]
mod selection;

#[cfg(feature = "hub")]
pub use client::Hub;
#[cfg(feature = "hub")]
pub use error::HubError;
#[cfg(feature = "hub")]
pub use event::HubEvent;
#[cfg(feature = "hub")]
pub use options::{HubOptions, Network};
pub use purpose::{Replaced, Use};
pub use reference::HubReference;
