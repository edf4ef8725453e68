//! The user's cache folder.

use std::io;
use std::path::PathBuf;

use etcetera::BaseStrategy;

/// The folder of our programs in the user's cache folder: `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS,
/// `%LOCALAPPDATA%` on Windows.
///
/// # Errors
/// That the user has no home folder.
pub(crate) fn cache_folder() -> io::Result<PathBuf> {
    let strategy = etcetera::base_strategy::choose_native_strategy().map_err(io::Error::other)?;
    Ok(strategy.cache_dir().join("diffusion"))
}
