//! The model that a program works with.

use std::error::Error;
use std::path::{Path, PathBuf};

#[cfg(feature = "embedded-model")]
use super::stdout::say;
#[cfg(feature = "embedded-model")]
use crate::embedded_model::UnpackedModel;

/// A model of the user's, or the one that the program carries.
#[derive(Debug)]
pub enum ModelInUse {
    /// The user's.
    Given(PathBuf),
    /// The program's own, unpacked.
    #[cfg(feature = "embedded-model")]
    Embedded(UnpackedModel),
}

impl ModelInUse {
    #[cfg(feature = "embedded-model")]
    pub(super) fn embedded() -> Result<Self, Box<dyn Error>> {
        let model = UnpackedModel::in_user_cache()?;
        if let Some(warning) = model.warning() {
            say(format_args!("warning: {warning}: {}", warning.source));
        }
        Ok(Self::Embedded(model))
    }

    #[cfg(not(feature = "embedded-model"))]
    pub(super) fn embedded() -> Result<Self, Box<dyn Error>> {
        Err("this program was built without its feature embedded-model; give --model".into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            #[cfg(feature = "embedded-model")]
            Self::Embedded(model) => model.path(),
        }
    }
}
