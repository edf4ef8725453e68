//! Reading files so that every error names its file.

use std::io;
use std::path::Path;

use diffusion_core::files;
use serde::de::DeserializeOwned;

use super::error::TokenizerError;

/// The text of a file that must be there.
pub(crate) fn read_text(path: &Path, expected: &'static str, advice: &'static str) -> Result<String, TokenizerError> {
    read_text_if_present(path)?.ok_or_else(|| TokenizerError::Missing { path: path.to_path_buf(), expected, advice })
}

fn read_text_if_present(path: &Path) -> Result<Option<String>, TokenizerError> {
    match files::read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read { path: path.to_path_buf(), source }),
    }
}

pub(crate) fn read_json_if_present<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
) -> Result<Option<T>, TokenizerError> {
    read_text_if_present(path)?.map(|text| parse_json(&text, path, expected)).transpose()
}

pub(crate) fn parse_json<T: DeserializeOwned>(text: &str, path: &Path, expected: &'static str) -> Result<T, TokenizerError> {
    serde_json::from_str(text).map_err(|source| TokenizerError::Malformed {
        path: path.to_path_buf(),
        expected,
        source: source.into(),
    })
}

/// Unpacks a file that is embedded in the program; `name` is what errors call it.
#[cfg(feature = "embedded-tokenizers")]
pub(crate) fn unpack_embedded(packed: &[u8], name: &Path) -> Result<String, TokenizerError> {
    use std::io::Read;

    let mut text = String::new();
    match flate2::read::GzDecoder::new(packed).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(source) => Err(TokenizerError::Read { path: name.to_path_buf(), source }),
    }
}
