//! The model that is drawn with.

use std::error::Error;
use std::path::{Path, PathBuf};

#[cfg(feature = "embedded-model")]
use diffusion_app::cli::say;
#[cfg(feature = "embedded-model")]
use diffusion_app::embedded_model::UnpackedModel;

/// A model of the user's, or the one that the program carries.
pub(crate) enum Model {
    Given(PathBuf),
    #[cfg(feature = "embedded-model")]
    Embedded(UnpackedModel),
}

impl Model {
    #[cfg(feature = "embedded-model")]
    pub(crate) fn embedded() -> Result<Self, Box<dyn Error>> {
        let model = UnpackedModel::in_user_cache()?;
        if let Some(warning) = model.warning() {
            say(format_args!("warning: {warning}: {}", warning.source));
        }
        Ok(Self::Embedded(model))
    }

    #[cfg(not(feature = "embedded-model"))]
    pub(crate) fn embedded() -> Result<Self, Box<dyn Error>> {
        Err("this program was built without its feature embedded-model; give --model".into())
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            #[cfg(feature = "embedded-model")]
            Self::Embedded(model) => model.path(),
        }
    }
}
