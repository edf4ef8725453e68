//! How a model is opened.

use burn::tensor::Device;
use diffusion_core::{Precision, Residency};

use crate::component_paths::ComponentPaths;

/// How a model is opened: which files, how precise, and where.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// Components that lie in files of their own.
    pub components: ComponentPaths,
    /// How wide weights are stored, and how wide they compute.
    pub precision: Precision,
    /// Whether large networks stay in memory or are read from their files block by block.
    pub residency: Residency,
    /// The device to draw on.
    pub device: Device,
}

impl PipelineOptions {
    /// All components in the model's own files, in f32 and resident, on `device`.
    pub fn new(device: &Device) -> Self {
        let (precision, residency) = (Precision::f32(), Residency::Resident);
        Self { components: ComponentPaths::new(), precision, residency, device: device.clone() }
    }
}
