//! The families of models, and what is asked of all of them. This list is the only one.

use std::path::Path;

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{Conversion, ConversionRules, Progress, Target, WriteError, convert as write_converted};
use diffusion_core::weights::PatchTarget;

use crate::component_paths::ComponentPaths;
use crate::detect::FileKind;
use crate::error::PipelineError;
use crate::family::Family;
use crate::family_profile::FamilyProfile;
use crate::model::Model;
use crate::source::Source;
use crate::{flux, sd3, t5};

/// All families. A new one is its folder and its line here.
pub(crate) const FAMILIES: &[Family] = &[sd3::FAMILY, flux::FAMILY];

/// Open a model of any family: a diffusers folder or a DDUF file of one, or a single file with or without its text encoders.
///
/// # Errors
/// [`PipelineError`] naming the file and what is wrong or missing: all that can be known without reading weights.
pub fn open_model(path: &Path, paths: &ComponentPaths) -> Result<Box<dyn Model>, PipelineError> {
    let (source, family) = Source::open(path, paths, &profiles())?;
    (FAMILIES[family].open)(&source)
}

/// What a checkpoint holds, as far as its names tell.
pub fn file_kind(checkpoint: &Checkpoint) -> FileKind {
    FileKind::of(checkpoint, &profiles())
}

fn profiles() -> Vec<&'static FamilyProfile> {
    FAMILIES.iter().map(|family| &family.profile).collect()
}

/// The released models of all families, with the networks that adapters patch.
pub fn released_models() -> Vec<(&'static str, Vec<PatchTarget>)> {
    FAMILIES.iter().flat_map(|family| (family.released)()).collect()
}

/// Tables that are looked up, not multiplied with.
const TABLES: [&str; 5] = ["shared", "embed_tokens", "token_embedding", "position_embedding", "relative_attention_bias"];

/// Write a checkpoint of any model or component in another number format; see
/// [`convert`](diffusion_core::checkpoint::write::convert).
///
/// # Errors
/// [`WriteError`]; there is no file then, or the one that was there before. A model that is known and not drawn with is refused
/// by its name: which of its weights can be narrowed is not known.
pub fn convert(
    checkpoint: &Checkpoint,
    path: &Path,
    target: Target,
    on_tensor: &mut dyn FnMut(Progress),
) -> Result<Conversion, WriteError> {
    if let kind @ FileKind::OtherModel(_) = file_kind(checkpoint) {
        return Err(WriteError::OtherModel { path: checkpoint.path().to_owned(), found: kind.to_string() });
    }
    let checkpoint = t5::with_transformers_names(checkpoint.clone())?;
    let components = || FAMILIES.iter().flat_map(|family| family.profile.components);
    let component_prefixes: Vec<&str> = components().flat_map(|component| component.prefixes).copied().collect();
    let has = |sign: &str| {
        let prefixes = components().flat_map(|component| component.prefixes).copied().chain([""]);
        prefixes.into_iter().any(|prefix| checkpoint.get(&format!("{prefix}{sign}")).is_some())
    };
    let gguf_architecture = FAMILIES.iter().find(|family| has(family.profile.gguf.1)).map(|family| family.profile.gguf.0);
    let rules = ConversionRules { component_prefixes: &component_prefixes, tables: &TABLES, gguf_architecture };
    write_converted(&checkpoint, path, target, rules, on_tensor)
}
