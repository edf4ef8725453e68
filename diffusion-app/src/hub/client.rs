//! A hub, and the way of its files into the cache.

use std::cell::OnceCell;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::cache::{RepositoryCache, is_commit};
use super::connection::{Connection, FileAt};
use super::download::{Download, Step};
use super::error::HubError;
use super::event::HubEvent;
use super::listing::Listing;
use super::options::{HubOptions, Network};
use super::purpose::Use;
use super::reference::HubReference;
use super::selection::{Selection, select};

/// More bytes than a configuration or an index of shards has.
const MAX_SMALL_FILE: u64 = 64 << 20;

/// A hub, and the cache of its files.
///
/// ```no_run
/// use diffusion_app::hub::{Hub, HubReference, Use};
///
/// let reference = HubReference::parse("stabilityai/stable-diffusion-3.5-medium").expect("the form of a repository");
/// let folder = Hub::from_environment().fetch(&reference, &Use::Model(Default::default()), &mut |_| {})?;
/// assert!(folder.join("model_index.json").exists());
/// # Ok::<_, diffusion_app::hub::HubError>(())
/// ```
pub struct Hub {
    options: HubOptions,
    /// Made when the network is first needed.
    connection: OnceCell<Connection>,
}

impl Hub {
    /// A hub that is asked when something is wanted of it.
    pub fn new(options: HubOptions) -> Self {
        Self { options, connection: OnceCell::new() }
    }

    /// The hub that the environment tells of; see [`HubOptions::from_environment`].
    pub fn from_environment() -> Self {
        Self::new(HubOptions::from_environment())
    }

    /// The file or folder of a reference, in the cache, with everything that the use needs and nothing else.
    ///
    /// The hub is asked which commit the revision is at. Where it does not answer, the commit of the last time counts.
    ///
    /// # Errors
    /// [`HubError`]. What was downloaded before it stays, and is not downloaded again.
    pub fn fetch(
        &self,
        reference: &HubReference,
        purpose: &Use,
        observer: &mut dyn FnMut(HubEvent<'_>),
    ) -> Result<PathBuf, HubError> {
        let offline = self.options.network == Network::Offline;
        // A commit never changes, so there is nothing to ask about one that is there.
        let cached = if offline || is_commit(reference.revision()) { Some(self.in_cache(reference, purpose)) } else { None };
        match cached {
            Some(Ok(path)) => return Ok(path),
            Some(Err(missing)) if offline => {
                let (repository, cache) = (reference.repository.clone(), self.options.cache.clone());
                return Err(HubError::Offline { repository, cache, missing });
            }
            _ => {}
        }
        let found = self.connection().and_then(|connection| self.download(connection, reference, purpose, observer));
        match found {
            Err(error) if error.is_unreachable() => self.without_network(reference, purpose, error, observer),
            other => other,
        }
    }

    /// The file or folder of a reference, if everything that the use needs is in the cache. The network is not used.
    pub fn cached(&self, reference: &HubReference, purpose: &Use) -> Option<PathBuf> {
        self.in_cache(reference, purpose).ok()
    }

    fn connection(&self) -> Result<&Connection, HubError> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let connection = Connection::new(&self.options)?;
        Ok(self.connection.get_or_init(|| connection))
    }

    /// The files of the commit of the last time. `Err` tells what is missing, where some of it is there.
    fn in_cache(&self, reference: &HubReference, purpose: &Use) -> Result<PathBuf, Option<String>> {
        let cache = RepositoryCache::new(&self.options.cache, &reference.repository);
        let commit = cache.commit(reference.revision()).ok_or(None)?;
        let listing = cache.listing(&commit);
        if listing.files.is_empty() {
            return Err(None);
        }
        let mut read = |file: &str| {
            let path = cache.snapshot(&commit).join(file);
            read_small(&path).map_err(|source| HubError::Cache { path, source })
        };
        let selected = select(reference, purpose, &listing, &mut read).map_err(|error| Some(error.to_string()))?;
        Ok(opened(cache.snapshot(&commit), &selected))
    }

    fn without_network(
        &self,
        reference: &HubReference,
        purpose: &Use,
        error: HubError,
        observer: &mut dyn FnMut(HubEvent<'_>),
    ) -> Result<PathBuf, HubError> {
        match self.in_cache(reference, purpose) {
            Ok(path) => {
                observer(HubEvent::FromCache { repository: &reference.repository });
                Ok(path)
            }
            Err(missing) => Err(match error {
                HubError::Unreachable { endpoint, repository, source, .. } => {
                    HubError::Unreachable { endpoint, repository, missing, source }
                }
                other => other,
            }),
        }
    }

    fn download(
        &self,
        connection: &Connection,
        reference: &HubReference,
        purpose: &Use,
        observer: &mut dyn FnMut(HubEvent<'_>),
    ) -> Result<PathBuf, HubError> {
        let listing = connection.listing(reference)?;
        let repository = Repository {
            connection,
            cache: RepositoryCache::new(&self.options.cache, &reference.repository),
            name: &reference.repository,
            listing: &listing,
        };
        let mut read = |file: &str| {
            if repository.listing.size(file).is_some_and(|size| size > MAX_SMALL_FILE) {
                return Err(connection.answer(repository.name, &format!("{file}, which is too large for what it is")));
            }
            let path = repository.file(file, &mut |_| {})?;
            read_small(&path).map_err(|source| HubError::Cache { path, source })
        };
        let selection = select(reference, purpose, &listing, &mut read)?;
        repository.all(&selection, observer)?;
        let path = repository.cache.snapshot(&listing.commit);
        let remembered = repository.cache.set_commit(reference.revision(), &listing.commit);
        remembered.map_err(|source| HubError::Cache { path: path.clone(), source })?;
        Ok(opened(path, &selection))
    }
}

/// A repository at a commit.
struct Repository<'a> {
    connection: &'a Connection,
    cache: RepositoryCache,
    name: &'a str,
    listing: &'a Listing,
}

impl Repository<'_> {
    /// Download what is not there.
    fn all(&self, selection: &Selection, observer: &mut dyn FnMut(HubEvent<'_>)) -> Result<(), HubError> {
        let is_missing = |file: &&String| self.cache.file(&self.listing.commit, file).is_none();
        let missing: Vec<&String> = selection.files.iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let size = |file: &str| self.listing.size(file).unwrap_or_default();
        let total = missing.iter().map(|file| size(file)).sum();
        observer(HubEvent::Started { repository: self.name, files: missing.len(), bytes: total });
        let mut done = 0;
        for file in missing {
            self.file(file, &mut |step| match step {
                Step::At(bytes) => observer(HubEvent::Progress { done: done + bytes, total }),
                Step::Resuming(at) => observer(HubEvent::Resuming { file, at }),
                Step::Waiting => observer(HubEvent::Waiting { file }),
            })?;
            done += size(file);
            observer(HubEvent::Progress { done, total });
        }
        observer(HubEvent::Finished { repository: self.name, bytes: total });
        Ok(())
    }

    fn file(&self, file: &str, on_step: &mut dyn FnMut(Step)) -> Result<PathBuf, HubError> {
        let commit = &self.listing.commit;
        if let Some(path) = self.cache.file(commit, file) {
            return Ok(path);
        }
        let at = FileAt { repository: self.name, commit, file };
        Download { connection: self.connection, cache: &self.cache, at }.run(on_step)
    }
}

/// The file or folder of a snapshot that is opened; without a slash at the end where it is the snapshot itself.
fn opened(snapshot: PathBuf, selection: &Selection) -> PathBuf {
    if selection.opened.is_empty() { snapshot } else { snapshot.join(&selection.opened) }
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_SMALL_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}
