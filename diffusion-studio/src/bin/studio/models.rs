//! The models that a server is to have.

use std::error::Error;
use std::path::Path;

use diffusion_app::cli::{GivenSources, ModelInUse, Sources, Verbosity, display_name};
use diffusion_app::device::DeviceName;
use diffusion_studio::registry::ModelSource;

/// Find the models that were given, and download what is not here; the miniature if none was given.
pub(crate) fn find(given: &[String], device: DeviceName, verbosity: Verbosity) -> Result<Vec<ModelSource>, Box<dyn Error>> {
    if given.is_empty() {
        return Ok(vec![one(None, device, verbosity)?]);
    }
    given.iter().map(|model| one(Some(model), device, verbosity)).collect()
}

fn one(given: Option<&str>, device: DeviceName, verbosity: Verbosity) -> Result<ModelSource, Box<dyn Error>> {
    let (name, model) = match given.map(|given| (given, given.split_once('='))) {
        // A file may have such a name.
        Some((given, Some((name, model)))) if !Path::new(given).exists() => (Some(name), Some(Path::new(model))),
        Some((given, _)) => (None, Some(Path::new(given))),
        None => (None, None),
    };
    let Sources { model: found, components, .. } =
        Sources::find(&GivenSources { model, ..GivenSources::default() }, device, verbosity)?;
    let own_name = model.map_or_else(|| "mini-sd3".to_owned(), display_name);
    let name = name.map_or(own_name, str::to_owned);
    let is_miniature = !matches!(found, ModelInUse::Given(_));
    let path = found.path().to_owned();
    if is_miniature {
        // Where it had to be unpacked for this run alone, it stays as long as the program runs.
        std::mem::forget(found);
    }
    Ok(ModelSource { name, path, components, is_miniature })
}
