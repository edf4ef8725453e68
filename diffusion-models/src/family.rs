//! A family of models: how its files are known, and how they are opened.

use diffusion_core::weights::PatchTarget;

use crate::error::PipelineError;
use crate::family_profile::FamilyProfile;
use crate::model::Model;
use crate::source::Source;

/// A family of models.
pub(crate) struct Family {
    /// How its files are known.
    pub(crate) profile: FamilyProfile,
    /// The released models, with the networks that adapters patch.
    pub(crate) released: fn() -> Vec<(&'static str, Vec<PatchTarget>)>,
    /// Open a model of the family, and check all that can be known without reading weights.
    pub(crate) open: fn(&Source) -> Result<Box<dyn Model>, PipelineError>,
}
