//! Where the hub is, where its files are kept, and who asks.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where the hub is, where its files are kept, and who asks.
///
/// Reference: `huggingface_hub` 1.0, `constants.py` and `utils/_auth.py`.
#[derive(Clone)]
pub struct HubOptions {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Access token of the user.
    pub token: Option<String>,
    /// Whether the network may be used.
    pub network: Network,
}

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It may.
    Online,
    /// Only what is in the cache counts.
    Offline,
}

impl HubOptions {
    /// Address of the Hugging Face hub.
    pub const HUGGING_FACE: &str = "https://huggingface.co";

    /// What the environment says, in the words that all programs for the hub read: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN` and `HF_HUB_OFFLINE`.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name)?.into_string().ok();
        let path = |name: &str| variable(name).map(PathBuf::from);
        let is_on = |name: &str| text(name).is_some_and(|value| is_yes(&value));
        let cache_home = || path("XDG_CACHE_HOME").unwrap_or_else(|| user_folder(&path).join(".cache"));
        let home = path("HF_HOME").unwrap_or_else(|| cache_home().join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
        let stored = || {
            let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            std::fs::read_to_string(file).ok()
        };
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(stored);
        let token = token.filter(|_| !is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| Self::HUGGING_FACE.to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token,
            network: if is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE") { Network::Offline } else { Network::Online },
        }
    }
}

impl std::fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, cache, token, network } = self;
        let token = token.as_ref().map(|_| "..."); // Not to be found in logs.
        let mut text = f.debug_struct("HubOptions");
        text.field("endpoint", endpoint).field("cache", cache).field("token", &token).field("network", network).finish()
    }
}

fn user_folder(path: &impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    path("HOME").or_else(|| path("USERPROFILE")).unwrap_or_default()
}

fn is_yes(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn options(variables: &[(&str, &str)]) -> HubOptions {
        let found = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        HubOptions::from_variables(found)
    }

    #[test]
    fn the_cache_lies_where_other_programs_for_the_hub_keep_it() {
        let cache = |variables: &[(&str, &str)]| options(variables).cache;
        let home = ("HOME", "/home/ada");
        assert_eq!(cache(&[home]), Path::new("/home/ada/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/big")]), Path::new("/big"));
    }

    #[test]
    fn tokens_come_from_the_variable_then_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(options(&[home]).token, None);
        std::fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        assert_eq!(options(&[home]).token.as_deref(), Some("hf_stored"));
        assert_eq!(options(&[home, ("HF_TOKEN", "hf_given")]).token.as_deref(), Some("hf_given"));
        assert_eq!(options(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        assert!(!format!("{:?}", options(&[home])).contains("hf_stored"));
    }

    #[test]
    fn the_endpoint_and_being_offline_are_taken_from_the_environment() {
        let plain = options(&[]);
        assert_eq!((&*plain.endpoint, plain.network), ("https://huggingface.co", Network::Online));
        let set = options(&[("HF_ENDPOINT", "http://127.0.0.1:8080/"), ("HF_HUB_OFFLINE", "YES")]);
        assert_eq!((&*set.endpoint, set.network), ("http://127.0.0.1:8080", Network::Offline));
        assert_eq!(options(&[("HF_HUB_OFFLINE", "0")]).network, Network::Online);
    }
}
