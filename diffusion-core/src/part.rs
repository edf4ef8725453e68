//! The networks that a pipeline is made of.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use burn::tensor::Device;

use crate::checkpoint::PublishedNames;
use crate::weight_change::{Application, WeightChanges};

/// A network of a pipeline that adapters can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The denoising network.
    Transformer,
    /// CLIP-L, the smaller of the CLIP text encoders.
    ClipL,
    /// CLIP-G, the larger one.
    ClipG,
    /// The T5 text encoder.
    T5,
}

impl Part {
    /// Whether it encodes prompts.
    pub fn is_text_encoder(self) -> bool {
        self != Self::Transformer
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transformer => "transformer",
            Self::ClipL => "CLIP-L",
            Self::ClipG => "CLIP-G",
            Self::T5 => "T5",
        })
    }
}

/// Changes of a pipeline's networks.
pub type PartChanges = BTreeMap<Part, WeightChanges>;

/// A pipeline whose weights can be changed while it is loaded. It knows nothing of what makes the changes.
pub trait ChangeWeights {
    /// Why a change failed.
    type Error;

    /// The device that it draws on.
    fn device(&self) -> Device;

    /// What published files call the parameters of the networks that this model has.
    fn published_names(&self) -> BTreeMap<Part, PublishedNames>;

    /// Make these the changes of the weights, in place of those of now; only weights that differ are touched.
    ///
    /// # Errors
    /// If a file cannot be read any more. The network concerned is loaded anew, with the changes, when it is next needed.
    fn change_weights(&mut self, changes: PartChanges, application: Application) -> Result<(), Self::Error>;
}
