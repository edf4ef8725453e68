//! What is computed on.

use std::error::Error;

use burn::tensor::Device;
use diffusion_core::Precision;

use crate::sizes::Sizes;

/// What is computed on.
pub(crate) struct Tested {
    pub(crate) device: Device,
    /// Those of f32 and bf16 that it has.
    pub(crate) precisions: Vec<Precision>,
    pub(crate) sizes: Sizes,
    /// Whether it is a GPU, whose steps are captured as graphs of kernels, too.
    pub(crate) has_graphs: bool,
}

impl Tested {
    /// Wait until the device has done all that it was given.
    pub(crate) fn wait(&self) -> Result<(), Box<dyn Error>> {
        self.device.sync().map_err(|error| format!("the device failed: {error:?}").into())
    }
}
