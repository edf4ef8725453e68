//! Why trained adapters cannot be written.

use std::path::PathBuf;

use diffusion_core::checkpoint::write::WriteError;
use diffusion_core::files::OneLine;
use diffusion_core::weights::ComponentId;

use super::spelling::LoraSpelling;

/// Why trained adapters cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainedLoraError {
    /// There is no adapter.
    #[error("there is nothing to write into {}: no weight was trained", OneLine(path.display()))]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An adapter is one of a component that the model does not have, or that no file of adapters has a name for.
    #[error("the trained weight {parameter} is one of {component}, which files of LoRAs have no name for")]
    Component {
        /// The component.
        component: ComponentId,
        /// The weight.
        parameter: String,
    },
    /// A weight is in no published file, or is no matrix there.
    #[error("the trained weight {parameter} of {component} is no matrix that published files have a name for")]
    Parameter {
        /// The component.
        component: ComponentId,
        /// The weight.
        parameter: String,
    },
    /// A Kronecker product is of a matrix whose rows stand in another order in published files.
    #[error(
        "rows of {module} stand in another order in published files, where a Kronecker product cannot follow them: adapt it \
        otherwise, or leave it out"
    )]
    RowsOfProduct {
        /// The module, as diffusers calls it.
        module: String,
    },
    /// There are two adapters of one weight.
    #[error("the weight {parameter} of {component} was trained twice; a file holds one adapter of each")]
    Twice {
        /// The component.
        component: ComponentId,
        /// The weight.
        parameter: String,
    },
    /// Factors do not fit together, or to their weight.
    #[error("the {factor} of the adapter of {parameter} is of shape {found:?}, expected {expected}")]
    Shape {
        /// The weight.
        parameter: String,
        /// Which factor.
        factor: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: [usize; 2],
    },
    /// A number is not finite, or beyond the format's range.
    #[error("the adapter of {module} holds {value:e}, which {format} cannot hold")]
    Number {
        /// The module, as the file would spell it.
        module: String,
        /// The number.
        value: f32,
        /// The format.
        format: &'static str,
    },
    /// Magnitudes of some rows of a fused matrix are not known.
    #[error(
        "{module} is one matrix in the spelling {spelling}, and only a part of it was trained as DoRA: train all of it, or write \
        another spelling"
    )]
    PartOfMagnitude {
        /// The module, as the file would spell it.
        module: String,
        /// The spelling.
        spelling: LoraSpelling,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
