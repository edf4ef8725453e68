//! A component's file, opened and checked, no weight read.

use std::collections::BTreeSet;
use std::fmt::Debug;

use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::weights::PatchTarget;

use crate::components::Component;
use crate::network_config::{NetworkConfig, WeightKeeping};

/// A component's file, whatever network it is for.
pub trait ComponentFile: Debug + Send + Sync {
    /// Which component it is, and where it lies.
    fn component(&self) -> &Component;

    /// Its tensors.
    fn checkpoint(&self) -> &Checkpoint;

    /// Its tensors without those that are read when they are needed and given back, whether the network is streamed or not.
    fn kept(&self) -> Checkpoint {
        self.checkpoint().clone()
    }

    /// How its weights are kept in memory.
    fn keeping(&self) -> WeightKeeping;

    /// Names, shapes and formats, against a network that is made but never filled.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the tensor.
    fn check(&self) -> Result<(), CheckpointError>;

    /// Names of the tensors of the file that drawing has no use for.
    fn left_out(&self) -> Vec<String>;

    /// The network as the files of adapters see it; `None` if no adapter patches it.
    fn patch_target(&self) -> Option<PatchTarget>;
}

/// The file of a network, with its configuration.
#[derive(Clone, Debug)]
pub(crate) struct NetworkFile<C> {
    pub(crate) component: &'static Component,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) config: C,
}

impl<C: NetworkConfig> ComponentFile for NetworkFile<C> {
    fn component(&self) -> &Component {
        self.component
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn kept(&self) -> Checkpoint {
        let released = self.config.released();
        // What cannot be renamed is refused by the check.
        let Ok(renamed) = self.config.rename(self.checkpoint.clone()) else { return self.checkpoint.clone() };
        let released = renamed.filtered(|name| released.iter().any(|prefix| name.starts_with(prefix)));
        let released: BTreeSet<&str> = released.tensors().map(|(_, tensor)| tensor.name()).collect();
        self.checkpoint.filtered(|name| self.checkpoint.get(name).is_none_or(|tensor| !released.contains(tensor.name())))
    }

    fn keeping(&self) -> WeightKeeping {
        C::KEEPING
    }

    fn check(&self) -> Result<(), CheckpointError> {
        self.config.check(self.checkpoint.clone())
    }

    fn left_out(&self) -> Vec<String> {
        // What cannot be renamed is refused by the check.
        self.config.rename(self.checkpoint.clone()).map_or_else(|_| Vec::new(), |kept| left_out(&self.checkpoint, &kept))
    }

    fn patch_target(&self) -> Option<PatchTarget> {
        Some(self.component.patch_target(&self.config))
    }
}

impl Component {
    /// A network of this configuration as the files of adapters see it.
    pub(crate) fn patch_target(&self, config: &impl NetworkConfig) -> PatchTarget {
        let aliases = vec![self.folder, self.id.name()];
        PatchTarget { component: self.id, aliases, names: config.published_names() }
    }
}

/// Names in the file of the tensors that a checkpoint no longer has after its names were mapped.
pub(crate) fn left_out(before: &Checkpoint, after: &Checkpoint) -> Vec<String> {
    let kept: BTreeSet<&str> = after.tensors().map(|(_, tensor)| tensor.name()).collect();
    let names = before.tensors().map(|(_, tensor)| tensor.name());
    names.filter(|name| !kept.contains(name)).map(str::to_owned).collect()
}
