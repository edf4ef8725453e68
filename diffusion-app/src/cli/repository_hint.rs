//! A hint for programs that read files alone.

use std::path::Path;

use diffusion_core::model_path::is_here;

use crate::hub::HubReference;

/// What to do where the name of a repository was given to a program that downloads nothing.
///
/// ```
/// use diffusion_app::cli::repository_hint;
///
/// assert!(repository_hint("city96/FLUX.1-dev-gguf:flux1-dev-Q8_0.gguf".as_ref()).unwrap().contains("hf download"));
/// assert_eq!(repository_hint("models/flux1-dev.safetensors".as_ref()), None);
/// ```
pub fn repository_hint(path: &Path) -> Option<String> {
    if is_here(path) {
        return None;
    }
    let HubReference { repository, revision, file } = HubReference::parse(path.to_str()?)?;
    let file = file.map(|file| format!(" {file}")).unwrap_or_default();
    let revision = revision.map(|revision| format!(" --revision {revision}")).unwrap_or_default();
    Some(format!(
        "that is the name of a repository, and this program reads files of this machine; `hf download {repository}{file}{revision}` \
         downloads it and prints where it is"
    ))
}
