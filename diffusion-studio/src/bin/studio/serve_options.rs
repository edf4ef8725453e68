//! The options of a server that answers callers.

#![allow(clippy::doc_markdown, reason = "these texts are what --help prints, where backticks would be noise")]

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use crate::options::first;

/// Options of a server that answers callers.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ServeOptions {
    /// Port to listen on; 0 takes a free one [default: 7860].
    #[arg(long, value_name = "N", env = "STUDIO_PORT")]
    pub(crate) port: Option<u16>,
    /// Address to listen on; 0.0.0.0 is open to the network [default: 127.0.0.1].
    #[arg(long, value_name = "ADDR", env = "STUDIO_LISTEN")]
    pub(crate) listen: Option<IpAddr>,
    /// Another name for the default model, for clients with names built in; may be given several times.
    #[arg(long, value_name = "NAME", env = "STUDIO_MODEL_ALIAS", value_delimiter = ',')]
    pub(crate) model_alias: Vec<String>,
    /// File of keys, one a line as NAME:KEY; without it everybody who reaches the server may ask.
    #[arg(long, value_name = "FILE", env = "STUDIO_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Jobs that wait at most; more are refused with the time to wait [default: 1000].
    #[arg(long, value_name = "N", env = "STUDIO_MAX_QUEUE")]
    pub(crate) max_queue: Option<usize>,
    /// Jobs of one user that wait at most [default: a quarter of --max-queue].
    #[arg(long, value_name = "N", env = "STUDIO_MAX_QUEUE_PER_USER")]
    pub(crate) max_queue_per_user: Option<usize>,
    /// Jobs that a key or an address may ask for in a minute; 0 for no limit [default: 600].
    #[arg(long, value_name = "N", env = "STUDIO_JOBS_PER_MINUTE")]
    pub(crate) jobs_per_minute: Option<u32>,
    /// Answer a request with the picture that another user drew with exactly the same settings [default: false].
    #[arg(long, value_name = "BOOL", env = "STUDIO_SHARE_CACHE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) share_cache: Option<bool>,
    /// Pixels of the largest image [default: 4194304].
    #[arg(long, value_name = "N", env = "STUDIO_MAX_PIXELS")]
    pub(crate) max_pixels: Option<usize>,
    /// Origin of another page that may use the server, as `https://example.org`; may be given several times.
    #[arg(long, value_name = "ORIGIN", env = "STUDIO_ALLOW_ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<String>,
    /// Only answer, and leave the drawing to workers that share the queue; see --database [default: false].
    #[arg(long, value_name = "BOOL", env = "STUDIO_NO_WORKER", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_worker: Option<bool>,
}

impl ServeOptions {
    /// These options, and those of `other` where these say nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            port: self.port.or(other.port),
            listen: self.listen.or(other.listen),
            model_alias: first(self.model_alias, other.model_alias),
            api_key_file: self.api_key_file.or(other.api_key_file),
            max_queue: self.max_queue.or(other.max_queue),
            max_queue_per_user: self.max_queue_per_user.or(other.max_queue_per_user),
            jobs_per_minute: self.jobs_per_minute.or(other.jobs_per_minute),
            share_cache: self.share_cache.or(other.share_cache),
            max_pixels: self.max_pixels.or(other.max_pixels),
            allow_origin: first(self.allow_origin, other.allow_origin),
            no_worker: self.no_worker.or(other.no_worker),
        }
    }
}
