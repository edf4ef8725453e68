//! Opening models.

use std::collections::BTreeSet;
use std::path::PathBuf;

use diffusion_app::devices::{Devices, NamedDevice};
use diffusion_app::digest::Digest;
use diffusion_app::precision::PrecisionName;
use diffusion_app::prompt_cache::maker;
use diffusion_models::{ComponentPaths, Pipeline, PipelineError, PipelineOptions, Settings};

use super::model_entry::ModelEntry;

/// Where a model is, and what it is called.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// The name that callers use.
    pub name: String,
    /// A file or folder.
    pub path: PathBuf,
    /// Components of it from elsewhere.
    pub components: ComponentPaths,
    /// Whether it is the miniature, which has better settings than its architecture's.
    pub is_miniature: bool,
}

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the model {name}")]
pub struct OpenModelError {
    /// Its name.
    pub name: String,
    /// What is wrong.
    #[source]
    pub source: Box<PipelineError>,
}

impl ModelSource {
    /// The miniature that the program carries.
    ///
    /// # Errors
    /// [`EmbeddedModelError`](diffusion_app::embedded_model::EmbeddedModelError) if it cannot be unpacked.
    #[cfg(feature = "embedded-model")]
    pub fn miniature() -> Result<Self, diffusion_app::embedded_model::EmbeddedModelError> {
        let (name, path) = (diffusion_app::embedded_model::NAME.to_owned(), diffusion_app::embedded_model()?);
        Ok(Self { name, path, components: ComponentPaths::new(), is_miniature: true })
    }

    /// Open the model for devices.
    ///
    /// # Errors
    /// [`OpenModelError`] if the files are no whole model.
    pub fn open(&self, devices: &Devices, precision: PrecisionName) -> Result<ModelEntry, OpenModelError> {
        let failed = |source| OpenModelError { name: self.name.clone(), source: Box::new(source) };
        let options = PipelineOptions { components: self.components.clone(), ..devices.options(precision) };
        let mut pipeline = Pipeline::open(&self.path, &options).map_err(failed)?;
        devices.set_precision(precision, &mut pipeline);
        let identity = identity(&pipeline, devices).map_err(failed)?;
        let defaults = self.defaults(&pipeline);
        let entry = ModelEntry::new(self.name.clone(), defaults, identity, devices.clone(), pipeline);
        #[cfg(feature = "embedded-model")]
        let entry = if self.is_miniature { entry.with_colors(diffusion_app::embedded_model::LATENT_RGB) } else { entry };
        Ok(entry)
    }

    fn defaults(&self, pipeline: &Pipeline) -> Settings {
        let settings = pipeline.default_settings();
        #[cfg(feature = "embedded-model")]
        if self.is_miniature {
            return diffusion_app::embedded_model::recommended(settings);
        }
        settings
    }
}

/// What tells a model's weights, and what computes with them, from all others.
fn identity(pipeline: &Pipeline, devices: &Devices) -> Result<String, PipelineError> {
    let NamedDevice { name, device } = devices.rest();
    // Without knowing itself, the program takes the pictures of another build for its own.
    let maker = maker(*name, device).unwrap_or_else(|error| {
        tracing::warn!(%error, "the program cannot read its own file");
        env!("CARGO_PKG_VERSION").to_owned()
    });
    let mut digest = Digest::default().with(maker);
    for file in pipeline.model().components() {
        let id = file.component().id;
        let place = pipeline.place_of(id);
        digest = digest.with(devices.of(id).to_string()).with(place.precision.to_string());
        digest = digest.with(id.name()).with(file.configuration());
        file.checkpoint().identify(&mut digest)?;
    }
    Ok(digest.hex())
}

/// A name that two models have.
pub(crate) fn name_that_is_there_twice(sources: &[ModelSource]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    sources.iter().map(|source| source.name.as_str()).find(|name| !seen.insert(*name))
}
