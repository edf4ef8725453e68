//! Which family a diffusers folder is of, by the class of its pipeline.

use std::path::Path;

use crate::error::PipelineError;
use crate::family_profile::FamilyProfile;

/// The place of the family in `families` whose models a pipeline of this class draws with. `transformer` is the class of its
/// transformer, by which the family of an unknown pipeline is known. `path` is the file that says so.
pub(crate) fn family_of(
    path: &Path,
    class: &str,
    transformer: Option<&str>,
    families: &[&'static FamilyProfile],
) -> Result<usize, PipelineError> {
    if let Some(found) = families.iter().position(|family| family.pipeline_classes.contains(&class)) {
        return Ok(found);
    }
    let refused = |expected: String, found: String| Err(PipelineError::OtherModel { path: path.to_owned(), expected, found });
    let known = |family: &FamilyProfile| family.pipeline_classes.join(" or ");
    for family in families {
        if let Some((_, needs)) = family.other_pipelines.iter().find(|(other, _)| *other == class) {
            let expected = format!("one that draws from a prompt alone: {}", known(family));
            return refused(expected, format!("a pipeline of the class {class}, which {needs}"));
        }
    }
    let found = format!("a pipeline of the class {class}, which is not known");
    match families.iter().find(|family| Some(family.transformer_class) == transformer) {
        Some(family) => refused(format!("one of {}: {}", family.name, known(family)), found),
        None => refused(families.iter().map(|family| family.pipeline_classes[0]).collect::<Vec<_>>().join(" or "), found),
    }
}
