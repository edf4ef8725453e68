//! How a network is loaded.

use std::ops::ControlFlow;

use burn::tensor::Device;

use super::component::ComponentId;
use super::precision::Precision;

/// Whether the blocks of a network stay in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Residency {
    /// All blocks stay, from the first use on.
    #[default]
    Resident,
    /// A block's weights are in memory while it computes; the next block's are read ahead meanwhile.
    Streamed,
}

/// How far the loading of a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What is loaded, if that was said.
    pub component: Option<ComponentId>,
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
    /// Where the network computes.
    pub device: &'a Device,
    /// Hears of the progress and may cancel.
    pub progress: &'a dyn Fn(LoadProgress) -> ControlFlow<()>,
}

impl<'a> Loading<'a> {
    /// All blocks stay in memory, and nobody hears of the progress.
    pub fn new(precision: Precision, device: &'a Device) -> Self {
        Self {
            component: None,
            precision,
            residency: Residency::Resident,
            releases_modulations: false,
            device,
            progress: &|_| ControlFlow::Continue(()),
        }
    }

    /// Another residency.
    #[must_use]
    pub fn with_residency(self, residency: Residency) -> Self {
        Self { residency, ..self }
    }

    /// The same for a component.
    #[must_use]
    pub fn of(self, component: ComponentId) -> Self {
        Self { component: Some(component), ..self }
    }

    /// Report that `done` of `total` bytes are loaded.
    pub(super) fn report(&self, done: usize, total: usize) -> ControlFlow<()> {
        (self.progress)(LoadProgress { component: self.component, done, total })
    }

    /// The same, computing in f32.
    ///
    /// Text encoders do: T5 overflows in f16, and they run once per prompt.
    #[must_use]
    pub fn computing_in_f32(self) -> Self {
        Self { precision: self.precision.with_f32_compute(), ..self }
    }
}
