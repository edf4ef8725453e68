//! What a hub tells of its work.

/// What a hub tells of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubEvent<'a> {
    /// Files of a repository begin to be downloaded.
    Started {
        /// The repository.
        repository: &'a str,
        /// How many files are not in the cache.
        files: usize,
        /// Bytes of them that are still to come.
        bytes: u64,
    },
    /// Bytes came in.
    Progress {
        /// Bytes of this repository's files that are there.
        done: u64,
        /// Bytes that they take.
        total: u64,
    },
    /// The files of the repository are in the cache.
    Finished {
        /// The repository.
        repository: &'a str,
        /// Bytes that came in.
        bytes: u64,
    },
    /// Another program downloads the same file, which is waited for.
    Waiting {
        /// The file.
        file: &'a str,
    },
    /// The connection broke, and the download goes on where it stopped.
    Resuming {
        /// The file.
        file: &'a str,
        /// Bytes of it that are there.
        at: u64,
    },
    /// The hub cannot be reached, so what is in the cache is taken.
    FromCache {
        /// The repository.
        repository: &'a str,
    },
}
