//! How a model is opened.

use burn::tensor::Device;
use diffusion_core::weights::{ComponentId, ComponentPlace, Placement};
use diffusion_core::{Precision, Residency};

use crate::component_file::ComponentFile;
use crate::component_paths::ComponentPaths;
use crate::components::Stage;

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
    /// Components on other devices; none unless asked for.
    pub placement: Placement,
    /// Whether steps are captured as a graph of kernels: see [`Loading::captures_steps`](diffusion_core::Loading::captures_steps).
    pub captures_steps: bool,
}

impl PipelineOptions {
    /// All components in the model's own files, in f32 and resident, on `device`, steps not captured.
    pub fn new(device: &Device) -> Self {
        let (precision, residency) = (Precision::f32(), Residency::Resident);
        let (components, placement) = (ComponentPaths::new(), Placement::new());
        Self { components, precision, residency, device: device.clone(), placement, captures_steps: false }
    }

    /// The device of a component.
    pub(crate) fn device_of(&self, component: ComponentId) -> &Device {
        self.placement.get(component).map_or(&self.device, |place| &place.device)
    }

    /// The place of a component, as it was asked for.
    pub(crate) fn place_of(&self, component: ComponentId) -> ComponentPlace {
        let with_the_rest =
            || ComponentPlace { device: self.device.clone(), precision: self.precision, residency: self.residency };
        self.placement.get(component).cloned().unwrap_or_else(with_the_rest)
    }

    /// The place of a component, as it is loaded.
    ///
    /// Only the denoising network rounds the operands of its products: text encoders and the autoencoder run once per image, and
    /// their errors would be in every step, and in every pixel.
    pub(crate) fn loaded_place_of(&self, file: &dyn ComponentFile) -> ComponentPlace {
        let place = self.place_of(file.component().id);
        match file.component().stage {
            Stage::Denoise => place,
            Stage::Text | Stage::Decode => ComponentPlace { precision: place.precision.with_exact_products(), ..place },
        }
    }
}
