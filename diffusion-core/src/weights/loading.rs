//! How a network is loaded.

use std::ops::ControlFlow;

use burn::tensor::Device;

use super::component::ComponentId;
use super::placement::{ComponentPlace, Placement};
use super::precision::Precision;
use super::residency::Residency;

/// How far the loading of a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress<'a> {
    /// What is loaded, if that was said.
    pub component: Option<ComponentId>,
    /// Where to.
    pub device: &'a Device,
    /// Bytes of the file's tensors that are loaded.
    pub done: usize,
    /// Bytes of all of them.
    pub total: usize,
}

/// How a network is loaded, and who hears of it.
#[derive(Clone, Copy)]
pub struct Loading<'a> {
    /// What is loaded, for those who hear of the progress.
    pub component: Option<ComponentId>,
    /// How wide weights are stored, and how wide they compute.
    pub precision: Precision,
    /// Whether the blocks of large networks stay in memory.
    pub residency: Residency,
    /// Whether the matrices that modulate blocks are read from the file when they are needed, and given back: right for who
    /// computes [`Modulations`](crate::network::Modulations) ahead, once for many evaluations. Those of streamed networks always
    /// are.
    pub releases_modulations: bool,
    /// Whether the first evaluation of a denoising network is captured as a graph of kernels, which the device repeats in the others,
    /// where it can: CUDA and AMD's in one launch, devices through wgpu with less work for the CPU. It costs some evaluations, and
    /// the memory of one for as long as the network is loaded.
    pub captures_steps: bool,
    /// Where the network computes; where several are loaded for one result, where that is put together.
    pub device: &'a Device,
    /// Components that go elsewhere, if there are some: [`of`](Self::of) heeds it.
    pub placement: Option<&'a Placement>,
    /// Hears of the progress and may cancel.
    pub progress: &'a dyn Fn(LoadProgress<'_>) -> ControlFlow<()>,
}

impl<'a> Loading<'a> {
    /// All blocks stay in memory, and nobody hears of the progress.
    pub fn new(precision: Precision, device: &'a Device) -> Self {
        Self {
            component: None,
            precision,
            residency: Residency::Resident,
            releases_modulations: false,
            captures_steps: false,
            device,
            placement: None,
            progress: &|_| ControlFlow::Continue(()),
        }
    }

    /// Another residency.
    #[must_use]
    pub fn with_residency(self, residency: Residency) -> Self {
        Self { residency, ..self }
    }

    /// The same for a component, in the place that it has.
    #[must_use]
    pub fn of(self, component: ComponentId) -> Self {
        let here = Self { component: Some(component), ..self };
        match self.placement.and_then(|placement| placement.get(component)) {
            Some(ComponentPlace { device, precision, residency }) => {
                Self { device, precision: *precision, residency: *residency, ..here }
            }
            None => here,
        }
    }

    /// Report that `done` of `total` bytes are loaded.
    pub(super) fn report(&self, done: usize, total: usize) -> ControlFlow<()> {
        (self.progress)(LoadProgress { component: self.component, device: self.device, done, total })
    }

    /// The same, computing in f32.
    ///
    /// Text encoders do: T5 overflows in f16, and they run once per prompt.
    #[must_use]
    pub fn computing_in_f32(self) -> Self {
        Self { precision: self.precision.with_f32_compute(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_loaded_as_its_place_says_and_the_others_as_the_rest() {
        let [t5, clip] = [ComponentId::new("t5xxl", "T5"), ComponentId::new("clip_l", "CLIP-L")];
        let device = Device::flex();
        let place =
            ComponentPlace { device: Device::flex(), precision: Precision::bf16_products(), residency: Residency::Streamed };
        let placement = Placement::new().with(t5, place);
        let loading = Loading { placement: Some(&placement), ..Loading::new(Precision::f32(), &device) };
        let Loading { component, device: found, precision, residency, .. } = loading.of(t5);
        assert_eq!((component, precision, residency), (Some(t5), Precision::bf16_products(), Residency::Streamed));
        assert!(placement.get(t5).is_some_and(|place| std::ptr::eq(found, &raw const place.device)));
        let Loading { component, device: found, precision, residency, .. } = loading.of(clip);
        assert_eq!((component, precision, residency), (Some(clip), Precision::f32(), Residency::Resident));
        assert!(std::ptr::eq(found, &raw const device));
    }
}
