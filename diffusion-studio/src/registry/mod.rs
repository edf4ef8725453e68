//! The models and LoRAs that there are, by name: nothing else is ever opened on a caller's word.

mod lora_entry;
mod lora_list;
mod model_entry;
mod open;
mod triggers;

use std::sync::Arc;

pub use lora_entry::LoraEntry;
pub use lora_list::LoraList;
pub use model_entry::ModelEntry;
pub(crate) use open::name_that_is_there_twice;
pub use open::{ModelSource, OpenModelError};

/// The models and LoRAs of a server.
#[derive(Debug)]
pub struct Registry {
    models: Vec<Arc<ModelEntry>>,
    /// The LoRAs of the folder.
    pub loras: LoraList,
}

impl Registry {
    /// A registry of these models, the first of which is the default.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(models: Vec<ModelEntry>, loras: LoraList) -> Self {
        assert!(!models.is_empty(), "a registry has at least one model");
        Self { models: models.into_iter().map(Arc::new).collect(), loras }
    }

    /// All models, in the order in which they were given.
    pub fn models(&self) -> &[Arc<ModelEntry>] {
        &self.models
    }

    /// The names of all models, for people.
    pub fn names(&self) -> String {
        self.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The model for those who name none.
    pub fn default_model(&self) -> &Arc<ModelEntry> {
        &self.models[0]
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<ModelEntry>> {
        self.models.iter().find(|model| model.name == name)
    }
}
