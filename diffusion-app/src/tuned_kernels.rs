//! Where Burn keeps what it learnt of a GPU: which of its kernels are fastest there, and what they were compiled to.

use std::sync::Once;

use burn::cubecl::config::cache::CacheConfig;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn::cubecl::environment;

use crate::cache_folder::cache_folder;

/// Keep it in the user's cache folder, unless a `cubecl.toml` names another place. Burn's own choice depends on the folder that a
/// program is started in, so that it would learn the same anew in each.
pub(crate) fn keep_in_user_cache() {
    static BEFORE_THE_FIRST_DEVICE: Once = Once::new();
    BEFORE_THE_FIRST_DEVICE.call_once(|| {
        // Read first: reading it sets the place that it names.
        let config = CubeClRuntimeConfig::get();
        let is_chosen = !matches!(config.environment.path, CacheConfig::Target);
        // Without a home folder Burn's choice stands, and a folder that cannot be written to costs time alone.
        if let (false, Ok(folder)) = (is_chosen, cache_folder()) {
            environment::set_root(folder.join("gpu-kernels"));
        }
    });
}
