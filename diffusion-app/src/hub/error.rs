//! Why files of the hub cannot be had.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::options::HubOptions;
use super::reference::HubReference;

/// Why files of the hub cannot be had. Every sentence says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The model's authors ask for something first.
    #[error(
        "{repository} is a gated model: its authors ask you to accept their terms. Open {endpoint}/{repository} and accept them, \
         then log in with `hf auth login`, or set HF_TOKEN to a token of {endpoint}/settings/tokens{}",
        if *had_token { "; the token that is set now has no access" } else { "" }
    )]
    Gated {
        /// The repository.
        repository: String,
        /// Address of the hub.
        endpoint: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// The token is not taken.
    #[error(
        "{endpoint} does not take the access token that is set; log in again with `hf auth login`, or set HF_TOKEN to a token of \
         {endpoint}/settings/tokens"
    )]
    Token {
        /// Address of the hub.
        endpoint: String,
    },
    /// There is no such repository, or it is private.
    #[error(
        "{endpoint} has no model {repository}, and there is no file or folder of that name here; check the spelling, capitals \
         included. If it is a private model, log in with `hf auth login`"
    )]
    NoRepository {
        /// The repository.
        repository: String,
        /// Address of the hub.
        endpoint: String,
    },
    /// The repository has no such revision.
    #[error(
        "{repository} has no revision {revision:?}; its page lists branches, tags and commits: {endpoint}/{repository}/tree/main"
    )]
    NoRevision {
        /// The repository.
        repository: String,
        /// Address of the hub.
        endpoint: String,
        /// What was asked for.
        revision: String,
    },
    /// The repository has no such file.
    #[error("{reference} does not exist: the repository has no such file{}", nearest(near))]
    NoFile {
        /// What was asked for.
        reference: HubReference,
        /// Files of a similar name.
        near: Vec<String>,
    },
    /// The repository has several files, or none, that would do.
    #[error("{reference} {}", choices(wanted, found))]
    Choose {
        /// What was asked for.
        reference: HubReference,
        /// What was looked for.
        wanted: &'static str,
        /// What there is.
        found: Vec<String>,
    },
    /// A file of the repository is not what it should be.
    #[error("{file} of {repository} is not {expected}")]
    Malformed {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// What it should be.
        expected: &'static str,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A repository lacks a part.
    #[error("{repository} is incomplete: {missing}")]
    Incomplete {
        /// The repository.
        repository: String,
        /// What is missing.
        missing: String,
    },
    /// Nothing answers.
    #[error(
        "{endpoint} cannot be reached, and {repository} is not in the cache{}. Check the connection; what is in the cache is drawn \
         with without one, and with HF_HUB_OFFLINE=1 without asking",
        absent(missing.as_deref())
    )]
    Unreachable {
        /// Address of the hub.
        endpoint: String,
        /// The repository.
        repository: String,
        /// The first thing that is missing, where some of it is there.
        missing: Option<String>,
        /// What the connection says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The network may not be used, and the cache lacks something.
    #[error(
        "{repository} is not in the cache ({}){}, and HF_HUB_OFFLINE is set; unset it to download",
        cache.display(),
        absent(missing.as_deref())
    )]
    Offline {
        /// The repository.
        repository: String,
        /// The cache's folder.
        cache: PathBuf,
        /// The first thing that is missing, where some of it is there.
        missing: Option<String>,
    },
    /// The connection broke again and again.
    #[error(
        "the download of {file} ({repository}) broke off at {at} of {} bytes; the same command goes on from there",
        size.map_or_else(|| "unknown".to_owned(), |size| size.to_string())
    )]
    Broken {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// Bytes that are there.
        at: u64,
        /// Bytes that the file has.
        size: Option<u64>,
        /// What the connection says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What came in is not the file.
    #[error(
        "{file} of {repository} came in damaged: its checksum is {found}, and the hub says {expected}. It is not kept; try again, \
         and if it happens again, something between here and {endpoint} changes files"
    )]
    Checksum {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// Address of the hub.
        endpoint: String,
        /// SHA-256 that the hub tells, or the number of bytes.
        expected: String,
        /// What came in.
        found: String,
    },
    /// No room for a file.
    #[error(
        "there is no space left in {} for {file} of {repository}{}; free some, or set HF_HOME to a folder on another disk. The same \
         command goes on where this one stopped",
        cache.display(),
        size.map_or_else(String::new, |size| format!(" ({:.1} GB)", size as f64 / 1e9))
    )]
    DiskFull {
        /// The repository.
        repository: String,
        /// The file.
        file: String,
        /// Bytes that the file has.
        size: Option<u64>,
        /// The cache's folder.
        cache: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The cache cannot be written.
    #[error("cannot write {} in the cache; set HF_HOME to a folder that you may write to", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The address of the hub is none.
    #[error("HF_ENDPOINT is {endpoint:?}, which is no address such as https://huggingface.co")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What the connection says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The hub answered with something that is no answer.
    #[error("{endpoint} answered {answer:?} about {repository}; try again later{}", custom(endpoint))]
    Answer {
        /// Address of the hub.
        endpoint: String,
        /// The repository.
        repository: String,
        /// The answer.
        answer: String,
    },
}

fn nearest(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

fn absent(missing: Option<&str>) -> String {
    missing.map(|missing| format!(" as a whole ({missing})")).unwrap_or_default()
}

fn custom(endpoint: &str) -> &'static str {
    if endpoint == HubOptions::HUGGING_FACE { "" } else { ", or check HF_ENDPOINT" }
}

/// Files that are printed to choose from.
const MAX_CHOICES: usize = 20;

fn choices(wanted: &str, found: &[String]) -> String {
    if found.is_empty() {
        return format!("has no {wanted}");
    }
    let more = found.len().saturating_sub(MAX_CHOICES);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let shown = found.iter().take(MAX_CHOICES).cloned().collect::<Vec<_>>().join(", ");
    format!("has several files that may be meant; put one after a colon: {shown}{more}")
}

impl HubError {
    /// Whether nothing answered, so that the cache is worth a look.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
