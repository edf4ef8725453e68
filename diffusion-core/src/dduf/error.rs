//! What can be wrong with a DDUF file.

use std::error::Error;
use std::path::PathBuf;

/// Why a DDUF file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} is not a usable DDUF file", path.display())]
pub struct DdufError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and with which entry.
    #[source]
    pub problem: DdufProblem,
}

/// What is wrong with a DDUF file. Names of entries are escaped where they are not ones that such a file may hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DdufProblem {
    /// The file cannot be read.
    #[error("it cannot be read; check its permissions, and the disk")]
    Read {
        /// What the operating system says.
        #[from]
        source: std::io::Error,
    },
    /// It is no zip archive.
    #[error(
        "it does not begin as a zip archive does; it may be a web page or a Git LFS pointer in place of the download, or of another kind: compare its size ({size} bytes) with the published one"
    )]
    NoZip {
        /// Its size in bytes.
        size: u64,
    },
    /// The list of entries is not where a whole file has it.
    #[error(
        "its list of entries is not at its end, so it is truncated: compare its size ({size} bytes) with the published one and download it again"
    )]
    Truncated {
        /// Its size in bytes.
        size: u64,
    },
    /// The list of entries cannot be understood.
    #[error("its list of entries is damaged; download it again")]
    Directory {
        /// What the zip reader says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The list is not as long as it is said to be.
    #[error("its list of entries has {found} of them where it announces {announced}; it is damaged, download it again")]
    Count {
        /// The number that the end of the file tells.
        announced: u64,
        /// Entries that there are.
        found: u64,
    },
    /// There are more entries than any model has files.
    #[error("it has more than {most} entries, which no model has")]
    TooMany {
        /// The largest number that is read.
        most: usize,
    },
    /// An entry has a name that such a file must not hold.
    #[error("its entry \"{name}\" {reason}")]
    Name {
        /// The entry, escaped and cut.
        name: String,
        /// What is wrong with the name.
        reason: &'static str,
    },
    /// Two entries have one name.
    #[error("it has two entries of the name {name}; pack the folder again")]
    Duplicate {
        /// The entry.
        name: String,
    },
    /// An entry is encrypted.
    #[error("its entry {name} is encrypted, which DDUF files are not; pack the folder again, without a password")]
    Encrypted {
        /// The entry.
        name: String,
    },
    /// An entry is compressed.
    #[error(
        "its entry {name} is compressed ({method}); weights are read in place, so pack the folder again without compression, as huggingface_hub's export_folder_as_dduf or `zip -0` do"
    )]
    Compressed {
        /// The entry.
        name: String,
        /// How.
        method: String,
    },
    /// An entry that is not compressed is said to have two sizes.
    #[error("its entry {name} is said to be {stored} bytes long and to hold {size}; it is damaged, download it again")]
    Sizes {
        /// The entry.
        name: String,
        /// Bytes that it takes.
        stored: u64,
        /// Bytes that it holds.
        size: u64,
    },
    /// An entry is said to lie where there is none.
    #[error("its entry {name} is not where the list of entries says; it is truncated or damaged, download it again")]
    Place {
        /// The entry.
        name: String,
    },
    /// Two entries share bytes.
    #[error("its entries {first} and {second} overlap; it is damaged, download it again")]
    Overlap {
        /// The entry that begins first.
        first: String,
        /// The other.
        second: String,
    },
    /// The entry that says what the components are is missing.
    #[error("it has no model_index.json; DDUF files hold a whole diffusers folder, with this file at the top")]
    NoIndex,
    /// The entry that says what the components are cannot be understood.
    #[error("its model_index.json is not the list of components that is expected there")]
    Index {
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A folder is not one of a component.
    #[error("its folder {folder} is not named in its model_index.json; the file was put together from several models")]
    UnknownFolder {
        /// The folder.
        folder: String,
    },
    /// An entry that should be a text is none.
    #[error("its entry {name} is no text, or damaged; download it again")]
    NotText {
        /// The entry.
        name: String,
    },
    /// An entry that should be a text is too long for one.
    #[error("its entry {name} is {size} bytes long, too much for a text")]
    TooLong {
        /// The entry.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
}
