//! What a pipeline tells while it works.

use std::ops::ControlFlow;

use burn::tensor::Device;
use diffusion_core::SamplerStep;
use diffusion_core::weights::ComponentId;

use crate::prompt_encoder::Truncation;

/// What a pipeline tells while it works. Whoever hears of it may cancel by breaking.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Event {
    /// A component is being loaded.
    Loading {
        /// The component.
        component: ComponentId,
        /// Where to.
        device: Device,
        /// Bytes that are loaded.
        done: usize,
        /// Bytes of all its tensors.
        total: usize,
    },
    /// A prompt is encoded.
    Encoded {
        /// Number of prompts that are.
        done: usize,
        /// Number of prompts.
        total: usize,
        /// What encoders did not see of it, and of the negative prompt.
        truncated: Vec<Truncation>,
    },
    /// A step is finished.
    Step(SamplerStep),
    /// An image is decoded.
    Decoded {
        /// Number of images that are.
        done: usize,
        /// Number of images.
        total: usize,
    },
}

/// Who hears of the events of a pipeline, and may cancel.
///
/// [`ignore`] hears of them and never cancels.
pub type Observer<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// An observer that lets everything pass.
pub fn ignore(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
