//! What may be given for a model, a component or a LoRA: a path, a repository of the hub, or the name of a known model.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::hub::HubReference;
use crate::known_models::{self, KnownModel, KnownVariant};
use diffusion_core::model_path::is_here;

/// In place of a component, this word leaves it out.
pub(super) const NONE: &str = "none";

/// What was given for a model, a component or a LoRA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Path(PathBuf),
    Repository(HubReference),
    /// Not to be drawn with.
    Nothing,
}

impl Given {
    /// What exists counts first, whatever it is called. A path that does not exist stays one, and opening it tells.
    pub(super) fn file(path: &Path) -> Self {
        let reference = path.to_str().filter(|_| !is_here(path)).and_then(HubReference::parse);
        reference.map_or_else(|| Self::Path(path.to_owned()), Self::Repository)
    }

    pub(super) fn component(path: &Path) -> Self {
        if path == Path::new(NONE) && !is_here(path) { Self::Nothing } else { Self::file(path) }
    }
}

/// The known model of a name. A name is one word that is no file, and ends like none.
pub(super) fn known(path: &Path) -> Result<Option<(&'static KnownModel, &'static KnownVariant)>, Box<dyn Error>> {
    let name = path.to_str().filter(|name| !is_here(path) && HubReference::parse(&format!("known/{name}")).is_some());
    Ok(name.map(known_models::find).transpose()?)
}

/// What a model or a LoRA is called in an image.
pub fn display_name(path: &Path) -> String {
    if !is_here(path)
        && let Some(text) = path.to_str()
    {
        if let Some(reference) = HubReference::parse(text) {
            return reference.short_name().to_owned();
        }
        if let Ok(Some((model, variant))) = known(path) {
            return model.name_of(variant);
        }
    }
    // The name of a folder has no ending, but may have a version in it.
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_a_path_whatever_it_is_called() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(Given::file(here), Given::Path(here.to_owned()));
        // Tests run in the package's folder.
        assert_eq!(Given::file("src/bin".as_ref()), Given::Path("src/bin".into()));
        assert!(matches!(Given::file("src/nothing".as_ref()), Given::Repository(_)));
        assert!(known("src".as_ref()).unwrap().is_none());
    }

    #[test]
    fn what_is_in_a_dduf_file_is_a_path() {
        let folder = tempfile::tempdir().unwrap();
        // A broken one too: opening it says what is wrong.
        std::fs::write(folder.path().join("model.dduf"), "").unwrap();
        let inside = folder.path().join("model.dduf/vae");
        assert!(is_here(&inside) && !is_here(&folder.path().join("other.dduf/vae")));
        assert_eq!(Given::component(&inside), Given::Path(inside.clone()));
    }

    #[test]
    fn missing_files_stay_paths() {
        for path in ["./a/b", "/a/b", "loras/style.safetensors", "model.gguf", "a/b/c", "../model"] {
            assert_eq!(Given::file(path.as_ref()), Given::Path(path.into()), "{path}");
            assert!(known(path.as_ref()).unwrap().is_none(), "{path}");
        }
        assert_eq!(Given::component("none".as_ref()), Given::Nothing);
    }

    #[test]
    fn names_of_known_models_are_words() {
        assert_eq!(
            known("flux-dev:q8".as_ref()).unwrap().map(|(model, variant)| (model.name, variant.name)),
            Some(("flux-dev", "q8"))
        );
        assert!(known("flux-dve".as_ref()).unwrap_err().to_string().contains("did you mean flux-dev?"));
        assert!(known("black-forest-labs/FLUX.1-dev".as_ref()).unwrap().is_none());
    }

    #[test]
    fn images_tell_the_model_by_what_people_call_it() {
        let name = |path: &str| display_name(path.as_ref());
        assert_eq!(name("stabilityai/stable-diffusion-3.5-medium"), "stable-diffusion-3.5-medium");
        assert_eq!(name("city96/FLUX.1-dev-gguf:flux1-dev-Q8_0.gguf"), "flux1-dev-Q8_0");
        assert_eq!(name("flux-dev:Q8"), "flux-dev:q8");
        assert_eq!(name("models/flux1-dev.safetensors"), "flux1-dev");
    }
}
