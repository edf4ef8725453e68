//! What is told while pictures are checked and encoded.

use std::ops::ControlFlow;

use diffusion_core::weights::ComponentId;

/// What is told while pictures and captions are checked and encoded. Whoever hears of it may cancel by breaking; what is encoded
/// by then need not be encoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataEvent {
    /// A picture was looked at.
    Checked {
        /// Number of pictures of a folder that were.
        done: usize,
        /// Number of pictures of the folder.
        total: usize,
    },
    /// A component of the model is being loaded.
    Loading {
        /// The component.
        component: ComponentId,
        /// Bytes that are loaded.
        done: usize,
        /// Bytes of all its tensors.
        total: usize,
    },
    /// A caption is encoded.
    Caption {
        /// Number of captions that are.
        done: usize,
        /// Number of captions, each counted once.
        total: usize,
    },
    /// A picture is encoded, at all sizes that it is learnt at.
    Picture {
        /// Number of pictures that are.
        done: usize,
        /// Number of pictures.
        total: usize,
    },
}

/// Who hears of the events, and may cancel.
pub type DataObserver<'a> = &'a mut dyn FnMut(DataEvent) -> ControlFlow<()>;
