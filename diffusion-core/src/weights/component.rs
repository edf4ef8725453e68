//! The networks of a model that adapters patch, by name.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use burn::tensor::Device;

use super::weight_patch::{PatchMode, WeightPatches};
use crate::checkpoint::PublishedNames;

/// A component of a model: its name in programs (`transformer`, `clip_l`, `vae`), and what people call it (`CLIP-L`), which it
/// is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    name: &'static str,
    label: &'static str,
}

impl ComponentId {
    /// The component of this name, which people call `label`.
    pub const fn new(name: &'static str, label: &'static str) -> Self {
        Self { name, label }
    }

    /// Its name in programs.
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label)
    }
}

/// A network of a model, as the files of adapters see it.
#[derive(Clone, Debug)]
pub struct PatchTarget {
    /// Which component it is.
    pub component: ComponentId,
    /// What the files of adapters call it: `transformer`, or `text_encoder_2` and `t5xxl`.
    pub aliases: Vec<&'static str>,
    /// What published files call its parameters.
    pub names: PublishedNames,
}

/// Patches by component.
pub type ComponentPatches = BTreeMap<ComponentId, WeightPatches>;

/// A pipeline whose weights can be patched while it is loaded. It knows nothing of what makes the patches.
pub trait PatchWeights {
    /// Why patching failed.
    type Error;

    /// The device that it draws on.
    fn device(&self) -> Device;

    /// The device of a component, where its patches go.
    fn device_of(&self, _component: ComponentId) -> Device {
        self.device()
    }

    /// The networks that this model has.
    fn patch_targets(&self) -> Vec<PatchTarget>;

    /// Make these the patches of the weights, in place of those of now; only weights that differ are touched.
    ///
    /// # Errors
    /// If a file cannot be read any more. The network concerned is loaded again, with the patches, when it is next needed.
    fn patch_weights(&mut self, patches: ComponentPatches, mode: PatchMode) -> Result<(), Self::Error>;
}
