//! The configuration of a network that files are published of.

use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::Device;
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap, Layout, PublishedNames};
use diffusion_core::weights::{self, parameter_shapes};

/// How the weights of a component are kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightKeeping {
    /// As in the file, or read from it block by block.
    Streamable,
    /// As in the file.
    Whole,
    /// Converted to the type that it computes in.
    Converted,
}

/// The configuration of a network that files are published of, in one or several layouts.
pub trait NetworkConfig: Debug + Send + Sync {
    /// The network.
    type Network: Module;

    /// How its weights are kept in memory.
    const KEEPING: WeightKeeping;

    /// The network, made but not filled; nothing is allocated.
    fn empty(&self, device: &Device) -> Self::Network;

    /// A checkpoint of any layout under the names of the network's parameters, any prefix of an all-in-one file already taken
    /// off.
    ///
    /// # Errors
    /// [`CheckpointError`] when a fused tensor has other rows than these sizes, or two names mean one weight.
    fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError>;

    /// All published layouts, each with a prefix of its names. Of several of one kind, new files have the names of the first.
    fn layouts(&self) -> Vec<(Layout, KeyMap, &'static str)>;

    /// Prefixes of the parameters that are not kept in memory, whether blocks are streamed or not: those of modulations.
    fn released(&self) -> Vec<String> {
        Vec::new()
    }

    /// What published files of all layouts call the network's parameters.
    fn published_names(&self) -> PublishedNames {
        let names = PublishedNames::new(parameter_shapes(&self.empty(&Device::default())));
        self.layouts().iter().fold(names, |names, (layout, map, prefix)| names.with_layout(*layout, map, prefix))
    }

    /// Whether a checkpoint fills the network: names, shapes and formats, without reading a weight.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the tensor.
    fn check(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        weights::check(&self.rename(checkpoint)?, &self.empty(&Device::default()))
    }
}
