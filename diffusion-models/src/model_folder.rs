//! What a diffusers folder consists of, of any pipeline, drawn with or not.

use std::path::Path;

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::{dduf, model_path};

use crate::error::PipelineError;
use crate::source::ModelIndex;

/// A diffusers folder, or a DDUF file of one, with the components that its `model_index.json` names.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The class of diffusers that the index names.
    pub pipeline_class: String,
    /// The components, in order of their names; those that the index says are absent are left out.
    pub components: Vec<FolderComponent>,
}

/// A component that an index names.
#[derive(Clone, Debug)]
pub struct FolderComponent {
    /// Its folder.
    pub name: String,
    /// Its class in diffusers or transformers.
    pub class_name: String,
    /// Its tensors; `None` for one that has no weights, such as a tokenizer, or whose folder is not there.
    pub weights: Option<Checkpoint>,
}

impl ModelFolder {
    /// Open a folder or DDUF file; `None` if the path leads to something else.
    ///
    /// # Errors
    /// [`PipelineError`] if the DDUF file, the index or a component's file cannot be used.
    pub fn open(path: &Path) -> Result<Option<Self>, PipelineError> {
        model_path::enter(path).map_err(CheckpointError::Dduf)?;
        if !model_path::exists(&path.join(dduf::INDEX)) {
            return Ok(None);
        }
        let index = ModelIndex::read(path)?;
        // A name with slashes would lead out of the folder.
        let is_name = |name: &str| !name.contains(['/', '\\']) && name != "..";
        let named = index.components.iter().filter(|(name, _)| index.has(name) && is_name(name));
        let components = named.map(|(name, entry)| {
            let weights = match Checkpoint::open(&path.join(name)) {
                Ok(checkpoint) => Some(checkpoint),
                Err(CheckpointError::NoWeights { .. }) => None,
                Err(_) if !model_path::exists(&path.join(name)) => None,
                Err(error) => return Err(error.into()),
            };
            let class_name = entry.get(1).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            Ok(FolderComponent { name: name.clone(), class_name, weights })
        });
        let components = components.collect::<Result<_, PipelineError>>()?;
        Ok(Some(Self { pipeline_class: index.class_name, components }))
    }
}
