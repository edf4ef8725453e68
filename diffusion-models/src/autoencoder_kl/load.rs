//! From a checkpoint in either layout to the names of the module.

use burn::tensor::Device;
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, Mismatch, parameter_shapes};

use super::AutoencoderKl;
use super::config::AutoencoderKlConfig;
use super::keys::Layout;

/// An empty autoencoder, and the checkpoint with its names: all of them, and no others.
pub(super) fn prepare(
    checkpoint: Checkpoint,
    config: &AutoencoderKlConfig,
    device: &Device,
) -> Result<(AutoencoderKl, Checkpoint), CheckpointError> {
    const MODEL: &str = "the autoencoder";
    let whole = config.init(device);
    let layout = Layout::of(&checkpoint);
    let checkpoint = checkpoint.named(MODEL).renamed(&layout.key_map(config.block_out_channels.len()))?;
    let expected = parameter_shapes(&whole);
    let unknown = checkpoint.tensors().filter(|(name, _)| !expected.contains_key(*name));
    let mismatch = Mismatch {
        missing: expected.keys().filter(|name| checkpoint.get(name).is_none()).cloned().collect(),
        unused: unknown.map(|(_, tensor)| tensor.name().to_owned()).collect(),
    };
    if mismatch == Mismatch::default() {
        Ok((whole, checkpoint))
    } else {
        Err(CheckpointError::Mismatch { path: checkpoint.path().to_owned(), model: MODEL.to_owned(), mismatch })
    }
}
