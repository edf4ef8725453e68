//! Where the components of a model lie: in one diffusers folder, in one all-in-one file, or in several files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::ComponentId;
use diffusion_core::{dduf, model_path};
use serde::Deserialize;

use crate::component_paths::ComponentPaths;
use crate::components::{Component, TRANSFORMER};
use crate::detect::FileKind;
use crate::error::PipelineError;
use crate::family_profile::FamilyProfile;
use crate::pipeline_class::family_of;
use diffusion_core::config::{ConfigError, read_json};

/// Prefixes of tensors of training that published files carry along.
const IGNORED_PREFIXES: [&str; 2] = ["model_ema.", "loss."];

/// Where the components of a model are looked for.
pub(crate) struct Source {
    place: Place,
    paths: ComponentPaths,
    family: &'static FamilyProfile,
    families: Vec<&'static FamilyProfile>,
}

enum Place {
    Folder { path: PathBuf, index: ModelIndex },
    File(Checkpoint),
}

/// Where the tensors of a component were found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file that was given for it.
    Given,
    /// In the model's diffusers folder.
    Folder,
    /// In the model's single file.
    File,
}

#[derive(Deserialize)]
pub(crate) struct ModelIndex {
    #[serde(rename = "_class_name")]
    pub(crate) class_name: String,
    #[serde(flatten)]
    pub(crate) components: BTreeMap<String, serde_json::Value>,
}

impl ModelIndex {
    pub(crate) fn read(folder: &Path) -> Result<Self, PipelineError> {
        let path = folder.join(dduf::INDEX);
        if !model_path::exists(&path) {
            return Err(PipelineError::NoModelIndex { path: folder.to_owned() });
        }
        Ok(read_json(&path)?)
    }

    /// The class of a component.
    fn class_of(&self, component: &str) -> Option<&str> {
        self.components.get(component)?.get(1)?.as_str()
    }

    /// A component of `[null, null]` is absent.
    pub(crate) fn has(&self, component: &str) -> bool {
        let entry = self.components.get(component).and_then(serde_json::Value::as_array);
        entry.is_some_and(|entry| entry.iter().all(serde_json::Value::is_string))
    }
}

impl Source {
    /// Open a folder or file of one of `families`, and tell of which.
    pub(crate) fn open(
        path: &Path,
        paths: &ComponentPaths,
        families: &[&'static FamilyProfile],
    ) -> Result<(Self, usize), PipelineError> {
        for path in [Some(path), paths.config.as_deref()].into_iter().flatten() {
            model_path::enter(path).map_err(CheckpointError::Dduf)?;
        }
        if let Some(config) = paths.config.as_deref().filter(|config| !model_path::is_folder(config)) {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(ConfigError::Read { path: config.join("transformer/config.json"), source }.into());
        }
        let list = |of: fn(&FamilyProfile) -> &str| families.iter().map(|family| of(family)).collect::<Vec<_>>().join(" or ");
        let (place, index) = if model_path::is_folder(path) {
            let index = ModelIndex::read(path)?;
            let found = family_of(&path.join("model_index.json"), &index.class_name, index.class_of("transformer"), families)?;
            (Place::Folder { path: path.to_owned(), index }, found)
        } else {
            let checkpoint = Checkpoint::open(path)?;
            let kind = FileKind::of(&checkpoint, families);
            let found = families.iter().position(|family| kind == FileKind::Denoiser(family.transformer));
            let found = found.ok_or_else(|| PipelineError::other_model(path, list(|family| family.transformer), kind))?;
            (Place::File(checkpoint), found)
        };
        let family = families[index];
        let source = Self { place, paths: paths.clone(), family, families: families.to_vec() };
        source.refuse_unknown_tensors()?;
        if let Some((id, path)) = paths.iter().find(|(id, _)| family.component(*id).is_none()) {
            let expected = format!("none: {} has no {id}", family.name);
            return Err(PipelineError::setting("component", expected, path.display()));
        }
        Ok((source, index))
    }

    /// An all-in-one file must be used up by its components; a bare transformer is checked when it is opened.
    fn refuse_unknown_tensors(&self) -> Result<(), PipelineError> {
        let Place::File(checkpoint) = &self.place else { return Ok(()) };
        if in_all_in_one(checkpoint, &Component::TRANSFORMER).is_none() {
            return Ok(());
        }
        let prefixes = self.family.components.iter().flat_map(|component| component.prefixes).copied();
        let prefixes: Vec<&str> = prefixes.chain(IGNORED_PREFIXES).collect();
        let known = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with("logit_scale");
        let names: Vec<String> = checkpoint.tensors().map(|(name, _)| name.to_owned()).filter(|name| !known(name)).collect();
        if names.is_empty() { Ok(()) } else { Err(PipelineError::UnknownTensors { path: checkpoint.path().to_owned(), names }) }
    }

    /// Tensors of an all-in-one file that are known, and of no component.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let Place::File(checkpoint) = &self.place else { return Vec::new() };
        if in_all_in_one(checkpoint, &Component::TRANSFORMER).is_none() {
            return Vec::new();
        }
        let prefixes: Vec<&str> = self.family.components.iter().flat_map(|component| component.prefixes).copied().collect();
        let names = checkpoint.tensors().map(|(name, _)| name);
        names.filter(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix))).map(str::to_owned).collect()
    }

    /// The family that the model is of.
    pub(crate) fn family(&self) -> &'static FamilyProfile {
        self.family
    }

    /// The file or folder that was opened.
    pub(crate) fn path(&self) -> &Path {
        match &self.place {
            Place::Folder { path, .. } => path,
            Place::File(checkpoint) => checkpoint.path(),
        }
    }

    /// The file or folder that was given for a component.
    pub(crate) fn given(&self, id: ComponentId) -> Option<&Path> {
        self.paths.get(id)
    }

    /// What a checkpoint holds.
    pub(crate) fn kind_of(&self, checkpoint: &Checkpoint) -> FileKind {
        FileKind::of(checkpoint, &self.families)
    }

    /// The error for components of which none is in any of the files.
    pub(crate) fn missing(&self, any_of: &[ComponentId]) -> PipelineError {
        PipelineError::MissingComponent { path: self.path().to_owned(), any_of: any_of.to_vec() }
    }

    /// A configuration or tokenizer of the model's own components. A diffusers folder has one, and opening it tells if not;
    /// the folder that goes with a single file may lack it.
    pub(crate) fn config_file(&self, file: &str) -> Option<PathBuf> {
        match &self.place {
            Place::Folder { path, .. } => Some(path.join(file)),
            Place::File(_) => self.config_beside(file),
        }
    }

    /// A configuration or tokenizer for a component that lies in a file of its own: what there is in the folder.
    fn config_beside(&self, file: &str) -> Option<PathBuf> {
        let folder = match &self.place {
            Place::Folder { path, .. } => Some(path),
            Place::File(_) => self.paths.config.as_ref(),
        };
        folder.map(|folder| folder.join(file)).filter(|file| model_path::exists(file))
    }

    /// One of the two, by whether a component was given a file of its own.
    pub(crate) fn config_of(&self, id: ComponentId, file: &str) -> Option<PathBuf> {
        if self.given(id).is_some() { self.config_beside(file) } else { self.config_file(file) }
    }

    /// A component's tensors: of the file that was given for it, or else of the model's own, if there are some.
    pub(crate) fn component(&self, component: &Component) -> Result<Option<(Checkpoint, Origin)>, PipelineError> {
        if self.paths.is_without(component.id) {
            return Ok(None);
        }
        if let Some(path) = self.given(component.id) {
            let checkpoint = Checkpoint::open(path)?;
            return Ok(Some((in_all_in_one(&checkpoint, component).unwrap_or(checkpoint), Origin::Given)));
        }
        let is_transformer = component.id == TRANSFORMER;
        match &self.place {
            Place::Folder { path, index } if component.tokenizer.is_none() || index.has(component.folder) => {
                Ok(Some((Checkpoint::open(&path.join(component.folder))?, Origin::Folder)))
            }
            Place::Folder { .. } => Ok(None),
            Place::File(checkpoint) => {
                let own = in_all_in_one(checkpoint, component).or_else(|| is_transformer.then(|| checkpoint.clone()));
                Ok(own.map(|own| (own, Origin::File)))
            }
        }
    }

    /// The denoising network's tensors, and its configuration where there is a folder of them.
    pub(crate) fn transformer(&self) -> Result<(Checkpoint, Option<PathBuf>), PipelineError> {
        let (checkpoint, _) = self.component(&Component::TRANSFORMER)?.ok_or_else(|| self.missing(&[TRANSFORMER]))?;
        let (expected, kind) = (FileKind::Denoiser(self.family.transformer), self.kind_of(&checkpoint));
        if kind != expected {
            return Err(PipelineError::other_model(checkpoint.path(), expected, kind));
        }
        let config = match &self.place {
            Place::Folder { path, .. } => Some(path),
            Place::File(_) => self.paths.config.as_ref(),
        };
        Ok((checkpoint, config.map(|folder| folder.join("transformer/config.json"))))
    }
}

/// The tensors of a component in an all-in-one file, if there are some.
fn in_all_in_one(checkpoint: &Checkpoint, component: &Component) -> Option<Checkpoint> {
    component.prefixes.iter().map(|prefix| checkpoint.under(prefix)).find(|part| !part.is_empty())
}
