//! Components that lie in files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use diffusion_core::weights::ComponentId;

/// Components that lie in files of their own, in place of those of the model's file or folder.
///
/// ```
/// use diffusion_models::{ComponentPaths, components};
///
/// let paths = ComponentPaths::new().with(components::CLIP_L, "clip_l.safetensors").with(components::VAE, "ae.safetensors");
/// assert_eq!(paths.get(components::VAE), Some("ae.safetensors".as_ref()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentPaths {
    /// A diffusers folder or DDUF file whose configurations and tokenizers go with a single file. Needed where sizes cannot be told
    /// from the tensors, as with miniatures.
    pub config: Option<PathBuf>,
    paths: BTreeMap<ComponentId, PathBuf>,
    absent: BTreeSet<ComponentId>,
}

impl ComponentPaths {
    /// Everything lies in the model's file or folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a file or folder for a component.
    #[must_use]
    pub fn with(mut self, component: ComponentId, path: impl Into<PathBuf>) -> Self {
        self.absent.remove(&component);
        self.paths.insert(component, path.into());
        self
    }

    /// Without a component, also where the model's own files hold it: a text encoder that is not to be drawn with.
    #[must_use]
    pub fn without(mut self, component: ComponentId) -> Self {
        self.paths.remove(&component);
        self.absent.insert(component);
        self
    }

    /// Whether a component is left out.
    pub fn is_without(&self, component: ComponentId) -> bool {
        self.absent.contains(&component)
    }

    /// With a diffusers folder of configurations and tokenizers.
    #[must_use]
    pub fn with_config(self, folder: impl Into<PathBuf>) -> Self {
        Self { config: Some(folder.into()), ..self }
    }

    /// The file or folder that was given for a component.
    pub fn get(&self, component: ComponentId) -> Option<&Path> {
        self.paths.get(&component).map(PathBuf::as_path)
    }

    /// All components that were given a path.
    pub fn iter(&self) -> impl Iterator<Item = (ComponentId, &Path)> {
        self.paths.iter().map(|(component, path)| (*component, path.as_path()))
    }
}
