//! What a repository is wanted for.

use std::collections::BTreeMap;

use diffusion_core::weights::ComponentId;

/// What a repository, or a file of it, is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// As a model, some of whose components come from elsewhere.
    Model(BTreeMap<ComponentId, Replaced>),
    /// As one component of a model.
    Component(ComponentId),
    /// As a LoRA.
    Lora,
}

/// What is drawn with in place of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Another file. The model's configuration and tokenizer still go with it.
    ByAnother,
    /// Nothing.
    ByNothing,
}
