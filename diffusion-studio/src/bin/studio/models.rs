//! The models that a server is to have.

use std::error::Error;
use std::path::Path;

use diffusion_app::cli::{GivenSources, ModelInUse, Sources, Verbosity, display_name};
use diffusion_app::device::DeviceName;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, VAE};
use diffusion_studio::registry::ModelSource;

use crate::options::Options;

/// Find the models that were given, and download what is not here; the miniature if none was given.
pub(crate) fn find(options: &Options, device: DeviceName, verbosity: Verbosity) -> Result<Vec<ModelSource>, Box<dyn Error>> {
    let given: Vec<(String, Option<&Path>)> = match &options.model[..] {
        [] => vec![("mini-sd3".to_owned(), None)],
        models => models.iter().map(|model| named(model)).collect(),
    };
    check_names(options, &given)?;
    given.iter().map(|(name, model)| one(options, name, *model, device, verbosity)).collect()
}

/// Name and place of a model.
fn named(given: &str) -> (String, Option<&Path>) {
    let (name, path) = split(given);
    (name.map_or_else(|| display_name(path), str::to_owned), Some(path))
}

/// `NAME=PATH`, or a path alone: a file may have such a name.
fn split(given: &str) -> (Option<&str>, &Path) {
    match given.split_once('=') {
        Some((name, path)) if !Path::new(given).exists() => (Some(name), Path::new(path)),
        _ => (None, Path::new(given)),
    }
}

/// What was given for a model: for it by name, or else for all of them.
fn for_model<'a>(given: &'a [String], model: &str) -> Option<&'a Path> {
    let given = || given.iter().map(|given| split(given));
    let own = given().find(|(name, _)| *name == Some(model));
    own.or_else(|| given().find(|(name, _)| name.is_none())).map(|(_, path)| path)
}

/// Refuse parts for models that there are not.
fn check_names(options: &Options, models: &[(String, Option<&Path>)]) -> Result<(), String> {
    let Options { vae, clip_l, clip_g, t5xxl, model_config, .. } = options;
    let names = [vae, clip_l, clip_g, t5xxl, model_config].into_iter().flatten().filter_map(|given| split(given).0);
    match names.into_iter().find(|name| models.iter().all(|(model, _)| model != name)) {
        Some(name) => {
            let known: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!("a part is given for the model {name}, and there are {}", known.join(", ")))
        }
        None => Ok(()),
    }
}

fn one(
    options: &Options,
    name: &str,
    model: Option<&Path>,
    device: DeviceName,
    verbosity: Verbosity,
) -> Result<ModelSource, Box<dyn Error>> {
    let parts = [(VAE, &options.vae), (CLIP_L, &options.clip_l), (CLIP_G, &options.clip_g), (T5XXL, &options.t5xxl)];
    let given = GivenSources {
        model,
        components: parts.into_iter().filter_map(|(id, given)| Some((id, for_model(given, name)?))).collect(),
        config: for_model(&options.model_config, name),
        ..GivenSources::default()
    };
    let Sources { model: found, components, .. } = Sources::find(&given, device, verbosity)?;
    let is_miniature = !matches!(found, ModelInUse::Given(_));
    let path = found.path().to_owned();
    if is_miniature {
        // Where it had to be unpacked for this run alone, it stays as long as the program runs.
        std::mem::forget(found);
    }
    Ok(ModelSource { name: name.to_owned(), path, components, is_miniature })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn parts_are_for_all_models_or_for_one_by_its_name() {
        let given = texts(&["t5.safetensors", "mine=t5-fp8.safetensors"]);
        assert_eq!(for_model(&given, "mine"), Some(Path::new("t5-fp8.safetensors")));
        assert_eq!(for_model(&given, "other"), Some(Path::new("t5.safetensors")));
        assert_eq!(for_model(&given[1..], "other"), None);
    }

    #[test]
    fn a_part_for_no_model_is_refused() {
        let options = Options { t5xxl: texts(&["mnie=t5.safetensors"]), ..Options::default() };
        let error = check_names(&options, &[("mine".to_owned(), None)]).unwrap_err();
        assert!(error.contains("mnie") && error.contains("mine"), "{error}");
    }

    #[test]
    fn a_model_has_a_name_of_its_own_or_that_of_its_file() {
        assert_eq!(named("mine=models/flux1-dev.safetensors").0, "mine");
        assert_eq!(named("models/flux1-dev.safetensors").0, "flux1-dev");
    }
}
