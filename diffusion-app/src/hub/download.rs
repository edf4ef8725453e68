//! One file on its way into the cache: continued where it stopped, checked, and only then given its name.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::CONTENT_RANGE;
use sha2::{Digest, Sha256};

use super::cache::{RepositoryCache, make_parent};
use super::connection::{Connection, FileAt, RemoteFile, RequestError};
use super::error::HubError;

/// How often a connection may break with nothing gained in between, and the wait before the first new one.
const RETRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(250);
const BUFFER_SIZE: usize = 1 << 20;

/// How a file gets on.
pub(super) enum Step {
    /// Bytes that are there.
    At(u64),
    /// The connection broke.
    Resuming(u64),
    /// Another program downloads it.
    Waiting,
}

/// A file on its way into the cache.
pub(super) struct Download<'a> {
    pub(super) connection: &'a Connection,
    pub(super) cache: &'a RepositoryCache,
    pub(super) at: FileAt<'a>,
}

/// A file that grows, with the checksum of what is there.
struct Growing {
    file: File,
    length: u64,
    hasher: Sha256,
}

impl Download<'_> {
    /// The path of the file in the cache, which is whole.
    pub(super) fn run(&self, on_step: &mut dyn FnMut(Step)) -> Result<PathBuf, HubError> {
        let remote = self.connection.describe(self.at)?;
        let blob = self.cache.blob(&remote.etag);
        let failed = |source| self.failed(&blob, &remote, source);
        if !blob.is_file() {
            let _lock = match self.cache.lock(&remote.etag).map_err(failed)? {
                Ok(lock) => lock,
                Err(other) => {
                    on_step(Step::Waiting);
                    RepositoryCache::wait(other).map_err(failed)?
                }
            };
            // Another program may have been faster.
            if !blob.is_file() {
                self.blob(&remote, &blob, on_step)?;
            }
        }
        self.cache.link(self.at.commit, self.at.file, &remote.etag).map_err(failed)
    }

    fn blob(&self, remote: &RemoteFile, blob: &Path, on_step: &mut dyn FnMut(Step)) -> Result<(), HubError> {
        let path = self.cache.incomplete(&remote.etag);
        let failed = |source| self.failed(&path, remote, source);
        let mut growing = Growing::open(&path).map_err(failed)?;
        if remote.size.is_some_and(|size| growing.length > size) {
            growing.restart().map_err(failed)?;
        }
        on_step(Step::At(growing.length));
        let (mut retries, mut wait) = (0, FIRST_WAIT);
        while remote.size != Some(growing.length) {
            let before = growing.length;
            let source = match self.receive(&mut growing, remote, on_step)? {
                // Where the hub tells no size, the end of the answer is the end of the file.
                None if remote.size.is_none() => break,
                None => "the connection was closed".into(),
                Some(source) => source,
            };
            if remote.size == Some(growing.length) {
                break;
            }
            if growing.length > before {
                (retries, wait) = (0, FIRST_WAIT);
            }
            if retries == RETRIES {
                let (repository, file) = (self.at.repository.to_owned(), self.at.file.to_owned());
                return Err(HubError::Broken { repository, file, at: growing.length, size: remote.size, source });
            }
            sleep(wait);
            (retries, wait) = (retries + 1, wait * 2);
            on_step(Step::Resuming(growing.length));
        }
        let Growing { file, length, hasher } = growing;
        let found = hexadecimal(&hasher.finalize());
        if let Some(expected) = remote.sha256.as_ref().filter(|expected| **expected != found) {
            drop(file);
            fs::remove_file(&path).map_err(failed)?;
            return Err(self.damaged(expected.clone(), found));
        }
        if let Some(expected) = remote.size.filter(|size| *size != length) {
            drop(file);
            fs::remove_file(&path).map_err(failed)?;
            return Err(self.damaged(format!("that of {expected} bytes"), format!("that of {length}")));
        }
        file.sync_all().map_err(failed)?;
        drop(file);
        fs::rename(&path, blob).map_err(failed)
    }

    /// Let the file grow by what one answer brings. `Some` tells why it ended early.
    fn receive(
        &self,
        growing: &mut Growing,
        remote: &RemoteFile,
        on_step: &mut dyn FnMut(Step),
    ) -> Result<Option<Box<dyn Error + Send + Sync>>, HubError> {
        let path = self.cache.incomplete(&remote.etag);
        let failed = |source| self.failed(&path, remote, source);
        let mut response = match self.connection.open(self.at, growing.length) {
            Ok(response) => response,
            Err(RequestError::Passing(source)) => return Ok(Some(source)),
            Err(RequestError::Refused(error)) => return Err(error),
        };
        if growing.length > 0 && !continues(&response, growing.length) {
            growing.restart().map_err(failed)?;
            if response.status() != StatusCode::OK {
                return Ok(Some(format!("the answer to a request for the rest was {}", response.status()).into()));
            }
        }
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            match response.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => growing.append(&buffer[..count]).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Some(error.into())),
            }
            // More than there should be would fill the disk.
            if let Some(size) = remote.size.filter(|size| growing.length > *size) {
                let found = format!("that of more than {size} bytes");
                growing.restart().map_err(failed)?;
                return Err(self.damaged(format!("that of {size} bytes"), found));
            }
            on_step(Step::At(growing.length));
        }
    }

    fn damaged(&self, expected: String, found: String) -> HubError {
        let (repository, file) = (self.at.repository.to_owned(), self.at.file.to_owned());
        HubError::Checksum { repository, file, endpoint: self.connection.options().endpoint.clone(), expected, found }
    }

    fn failed(&self, path: &Path, remote: &RemoteFile, source: io::Error) -> HubError {
        if !matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return HubError::Cache { path: path.to_owned(), source };
        }
        let (repository, file) = (self.at.repository.to_owned(), self.at.file.to_owned());
        HubError::DiskFull { repository, file, size: remote.size, cache: self.connection.options().cache.clone(), source }
    }
}

/// Whether an answer begins where the file ends.
fn continues(response: &Response, length: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && start == Some(length)
}

/// As the hub writes checksums.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // A string takes everything.
        text
    })
}

impl Growing {
    /// A file that an earlier download began, or a new one.
    fn open(path: &Path) -> io::Result<Self> {
        make_parent(path)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER_SIZE]);
        let there = file.metadata()?.len();
        let mut rest = (&mut file).take(there);
        let mut length = 0;
        loop {
            match rest.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    length += count as u64;
                }
            }
        }
        Ok(Self { file, length, hasher })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.length, self.hasher) = (0, Sha256::new());
        Ok(())
    }
}
