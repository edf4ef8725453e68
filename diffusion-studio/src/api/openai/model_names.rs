//! Names of models that clients have built in.

use crate::refusal::{Refusal, RefusalKind};
use crate::registry::ModelEntry;
use crate::studio::Studio;

/// Names in the lists of clients that cannot be changed; they stand for the default model.
const BUILT_IN: [&str; 5] = ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"];

/// The model that a client means.
///
/// # Errors
/// [`RefusalKind::UnknownModel`] naming `model`.
pub(super) fn model_meant<'a>(studio: &'a Studio, name: Option<&str>) -> Result<&'a ModelEntry, Refusal> {
    let registry = studio.registry();
    let Some(name) = name else { return Ok(registry.default_model()) };
    let is_alias = BUILT_IN.contains(&name) || studio.config().model_aliases.iter().any(|alias| alias == name);
    let alias = || is_alias.then(|| registry.default_model());
    registry.model(name).or_else(alias).map(AsRef::as_ref).ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        let message = format!("the model {name:?} does not exist; there are {}", registry.names());
        Refusal::new(RefusalKind::UnknownModel, message).at("model")
    })
}
