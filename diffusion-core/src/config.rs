//! Reading the JSON configurations beside published weights.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::files::read_text;

/// Why a configuration cannot be used. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}; a diffusers folder has this file, download it again", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not JSON, or lacks a field.
    #[error("{} is not the configuration that is expected here", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A field has a value that the model does not support.
    #[error("{}: {field} is {found}, expected {expected}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is supported.
        expected: String,
        /// What the file says.
        found: String,
    },
}

impl ConfigError {
    /// An [`Unsupported`](Self::Unsupported) field.
    pub fn unsupported(path: &Path, field: &'static str, expected: impl Display, found: impl Display) -> Self {
        Self::Unsupported { path: path.to_owned(), field, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Larger than any size of a published model, and small enough for products of three to stay below the largest number.
const LARGEST_SIZE: usize = 1 << 20;
/// More layers than any published model has.
const MOST_LAYERS: usize = 1000;

/// Refuse sizes that no model has, before anything is made of them.
///
/// # Errors
/// [`ConfigError::Unsupported`] naming the field.
pub fn require_sizes<const N: usize>(path: &Path, sizes: [(&'static str, usize); N]) -> Result<(), ConfigError> {
    require_range(path, LARGEST_SIZE, sizes)
}

/// Refuse numbers of layers that no model has.
///
/// # Errors
/// [`ConfigError::Unsupported`] naming the field.
pub fn require_layers<const N: usize>(path: &Path, counts: [(&'static str, usize); N]) -> Result<(), ConfigError> {
    require_range(path, MOST_LAYERS, counts)
}

fn require_range<const N: usize>(path: &Path, most: usize, fields: [(&'static str, usize); N]) -> Result<(), ConfigError> {
    match fields.into_iter().find(|(_, found)| !(1..=most).contains(found)) {
        Some((field, found)) => Err(ConfigError::unsupported(path, field, format!("1 to {most}"), found)),
        None => Ok(()),
    }
}

/// Read a JSON file into a type that names the fields it needs.
///
/// # Errors
/// [`ConfigError`] if the file cannot be read, or is something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}
