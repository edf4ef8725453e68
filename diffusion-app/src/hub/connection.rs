//! The way to the hub.
//!
//! `hf-hub` 1.0 asks for what is about a repository. It downloads a file from its beginning each time, takes whatever comes in
//! for whole, and follows the redirect that bears the checksum; so files are asked for here, with what it is built on.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFClientBuilder, HFClientSync, HFError};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};

use super::cache::is_commit;
use super::error::HubError;
use super::listing::{Listing, RepositoryFile};
use super::options::HubOptions;
use super::reference::{HubReference, is_inner_path};

const USER_AGENT: &str = concat!("diffusion-app/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte for this long, a connection counts as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is repeated that failed in passing, and the wait before the first time.
const RETRIES: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Redirects within the hub, as for repositories that were renamed.
const MAX_REDIRECTS: usize = 5;
/// Letters of a SHA-256.
const SHA256_LENGTH: usize = 64;
/// Letters of any checksum that names a file in the cache.
const MAX_ETAG: usize = 128;

/// The way to the hub.
pub(super) struct Connection {
    options: HubOptions,
    hub: HFClientSync,
    /// Follows redirects to wherever files are kept; the token stays with the hub.
    files: Client,
    /// Follows none, because the answer before a redirect tells the checksum.
    metadata: Client,
}

/// A file at one commit, as the hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Its name in the cache.
    pub(super) etag: String,
    pub(super) size: Option<u64>,
    /// Its checksum, which the hub tells of large files.
    pub(super) sha256: Option<String>,
}

/// Why a request brought nothing.
pub(super) enum RequestError {
    /// It may work the next time.
    Passing(Box<dyn Error + Send + Sync>),
    /// It will not.
    Refused(HubError),
}

/// A file of a repository at a commit.
#[derive(Clone, Copy)]
pub(super) struct FileAt<'a> {
    pub(super) repository: &'a str,
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
}

impl Connection {
    pub(super) fn new(options: &HubOptions) -> Result<Self, HubError> {
        let failed = |source: Box<dyn Error + Send + Sync>| HubError::Endpoint { endpoint: options.endpoint.clone(), source };
        let client = reqwest::Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT);
        let client = client.read_timeout(STALL_TIMEOUT).build().map_err(|error| failed(error.into()))?;
        let hub = HFClient::builder().client(client).endpoint(&options.endpoint).cache_dir(&options.cache);
        let hub = hub.retry_max_attempts(RETRIES as usize).retry_base_delay(FIRST_WAIT / 2);
        let hub = options.token.iter().fold(hub, HFClientBuilder::token);
        let hub: HFClientSync = hub.build_sync().map_err(|error| failed(error.into()))?;
        let client = |policy: Policy| {
            let client = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT).timeout(STALL_TIMEOUT);
            client.redirect(policy).build().map_err(|error| failed(error.into()))
        };
        Ok(Self { options: options.clone(), hub, files: client(Policy::default())?, metadata: client(Policy::none())? })
    }

    /// All files of a repository at a revision.
    pub(super) fn listing(&self, reference: &HubReference) -> Result<Listing, HubError> {
        let (organisation, name) = hf_hub::split_id(&reference.repository);
        let repository = self.hub.model(organisation, name);
        let refused = |error| self.of_hub(reference, error);
        let answer = |answer: &str| self.answer(&reference.repository, answer);
        let info = repository.info().revision(reference.revision()).send().map_err(refused)?;
        let commit = info.sha.filter(|commit| is_commit(commit)).ok_or_else(|| answer("no commit"))?;
        let tree = repository.list_tree().revision(commit.clone()).recursive(true).send().map_err(refused)?;
        let files = tree.into_iter().filter_map(|entry| match entry {
            // Names become paths in the cache.
            RepoTreeEntry::File { path, size, .. } if is_inner_path(&path) => Some(RepositoryFile { path, size }),
            _ => None,
        });
        Ok(Listing { commit, files: files.collect() })
    }

    /// What the hub says about a file.
    pub(super) fn describe(&self, at: FileAt<'_>) -> Result<RemoteFile, HubError> {
        let mut url = self.url(at)?;
        for _ in 0..MAX_REDIRECTS {
            let response = self.repeat(at, || self.send(self.metadata.request(Method::HEAD, url.clone()), at))?;
            let headers = response.headers();
            // A relative redirect stays in the hub; it bears no checksum.
            if let Some(within) = text(headers, LOCATION.as_str()).filter(|location| location.starts_with('/')) {
                url = url.join(within).map_err(|_| self.answer(at.repository, within))?;
                continue;
            }
            let is_redirect = response.status().is_redirection();
            let etag = text(headers, "x-linked-etag").or_else(|| text(headers, ETAG.as_str()));
            let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"')).filter(|etag| is_plain(etag));
            let etag = etag.ok_or_else(|| self.answer(at.repository, "no checksum"))?.to_owned();
            let length = text(headers, CONTENT_LENGTH.as_str()).filter(|_| !is_redirect);
            let size = text(headers, "x-linked-size").or(length).and_then(|size| size.parse().ok());
            let is_sha256 = etag.len() == SHA256_LENGTH && etag.bytes().all(|letter| letter.is_ascii_hexdigit());
            return Ok(RemoteFile { sha256: is_sha256.then(|| etag.to_ascii_lowercase()), etag, size });
        }
        Err(self.answer(at.repository, "too many redirects"))
    }

    /// The bytes of a file from one on. The answer may be the whole file nevertheless: its status tells.
    pub(super) fn open(&self, at: FileAt<'_>, from: u64) -> Result<Response, RequestError> {
        let request = self.files.get(self.url(at).map_err(RequestError::Refused)?);
        let request = if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request };
        self.send(request, at)
    }

    pub(super) fn options(&self) -> &HubOptions {
        &self.options
    }

    /// Send a request, and tell from the status what became of it.
    fn send(&self, request: RequestBuilder, at: FileAt<'_>) -> Result<Response, RequestError> {
        let token = self.options.token.as_ref().and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let request = token.into_iter().fold(request, |request, token| request.header(AUTHORIZATION, token));
        let response = request.send().map_err(|error| RequestError::Passing(error.into()))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        let code = text(response.headers(), "x-error-code");
        Err(match status {
            StatusCode::NOT_FOUND if code != Some("RepoNotFound") => {
                RequestError::Refused(HubError::NoFile { reference: reference(at.repository, Some(at.file)), near: Vec::new() })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                RequestError::Refused(self.denied(at.repository, status, code))
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                RequestError::Passing(status.to_string().into())
            }
            status => RequestError::Refused(self.answer(at.repository, &status.to_string())),
        })
    }

    fn repeat(&self, at: FileAt<'_>, request: impl Fn() -> Result<Response, RequestError>) -> Result<Response, HubError> {
        let (mut retries, mut wait) = (0, FIRST_WAIT);
        loop {
            match request() {
                Ok(response) => return Ok(response),
                Err(RequestError::Refused(error)) => return Err(error),
                Err(RequestError::Passing(source)) if retries == RETRIES => {
                    return Err(self.unreachable(at.repository, source));
                }
                Err(RequestError::Passing(_)) => sleep(wait),
            }
            (retries, wait) = (retries + 1, wait * 2);
        }
    }

    fn url(&self, at: FileAt<'_>) -> Result<Url, HubError> {
        let failed = |source| HubError::Endpoint { endpoint: self.options.endpoint.clone(), source };
        let mut url = Url::parse(&self.options.endpoint).map_err(|error| failed(error.into()))?;
        let mut segments = url.path_segments_mut().map_err(|()| failed("it cannot have a path".into()))?;
        segments.pop_if_empty().extend(at.repository.split('/'));
        segments.push("resolve").push(at.commit).extend(at.file.split('/'));
        drop(segments);
        Ok(url)
    }

    /// An error of the hub's library, in our words.
    fn of_hub(&self, reference: &HubReference, error: HFError) -> HubError {
        let repository = &reference.repository;
        match error {
            HFError::AuthRequired { context } | HFError::Forbidden { context } => {
                self.denied(repository, context.status, context.error_code.as_deref())
            }
            HFError::RevisionNotFound { context, .. } | HFError::RepoNotFound { context, .. } => {
                if context.is_some_and(|context| context.error_code.as_deref() == Some("RevisionNotFound")) {
                    let (repository, endpoint) = (repository.clone(), self.options.endpoint.clone());
                    HubError::NoRevision { repository, endpoint, revision: reference.revision().to_owned() }
                } else {
                    self.denied(repository, StatusCode::NOT_FOUND, None)
                }
            }
            HFError::Request { source, .. } if source.is_decode() => self.answer(repository, &source.to_string()),
            HFError::Request { source, .. } => self.unreachable(repository, source.into()),
            HFError::Http { context } | HFError::RateLimited { context, .. } => {
                self.answer(repository, &context.status.to_string())
            }
            other => self.answer(repository, &other.to_string()),
        }
    }

    fn denied(&self, repository: &str, status: StatusCode, code: Option<&str>) -> HubError {
        let (repository, endpoint, had_token) =
            (repository.to_owned(), self.options.endpoint.clone(), self.options.token.is_some());
        match (code, status) {
            (Some("GatedRepo"), _) | (None, StatusCode::FORBIDDEN) => HubError::Gated { repository, endpoint, had_token },
            (None, StatusCode::UNAUTHORIZED) if had_token => HubError::Token { endpoint },
            _ => HubError::NoRepository { repository, endpoint },
        }
    }

    fn unreachable(&self, repository: &str, source: Box<dyn Error + Send + Sync>) -> HubError {
        let (endpoint, repository) = (self.options.endpoint.clone(), repository.to_owned());
        HubError::Unreachable { endpoint, repository, missing: None, source }
    }

    pub(super) fn answer(&self, repository: &str, answer: &str) -> HubError {
        let (endpoint, repository) = (self.options.endpoint.clone(), repository.to_owned());
        HubError::Answer { endpoint, repository, answer: answer.chars().take(MAX_ANSWER).collect() }
    }
}

/// Letters of an answer that are worth printing.
const MAX_ANSWER: usize = 200;

pub(super) fn reference(repository: &str, file: Option<&str>) -> HubReference {
    HubReference { repository: repository.to_owned(), revision: None, file: file.map(str::to_owned) }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a checksum can name a file.
fn is_plain(etag: &str) -> bool {
    let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    (1..=MAX_ETAG).contains(&etag.len()) && etag.chars().all(known)
}
