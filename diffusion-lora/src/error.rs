//! What can be wrong with a LoRA. Every message tells a newcomer what to do.

use std::path::PathBuf;

use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::files::Shown;

use crate::lora_folder::FILE_NAMES;
use crate::report::Report;

/// Why a LoRA cannot be used. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// It holds adapters that cannot be trained further.
    #[error("{path}: {module} is {kind}: only LoRA and DoRA of the layers of blocks can be trained further")]
    NotTrainable {
        /// The file.
        path: PathBuf,
        /// The module, as the file spells it.
        module: String,
        /// What it is.
        kind: &'static str,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file is something else.
    #[error("{} is no LoRA: it holds {found}", path.display())]
    NotALora {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// A folder holds no LoRA.
    #[error(
        "{} holds no LoRA: a LoRA folder has {}, or one other .safetensors file; {}",
        path.display(), FILE_NAMES.join(" or "), holds(found)
    )]
    FolderWithoutLora {
        /// The folder.
        path: PathBuf,
        /// The names in it, in order.
        found: Vec<String>,
    },
    /// The adapter's settings, beside the file or in its header, cannot be understood.
    #[error("{} has adapter settings that cannot be read: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// An adapter is of a kind that is not read.
    #[error(
        "{} has adapters of the kind {kind}, {} for one, which are not read; LoRA, LoCon, LoHa, LoKr, DoRA and differences are",
        path.display(), Shown(module)
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: &'static str,
        /// One of the modules, as the file spells it.
        module: String,
    },
    /// Two tensors, or two modules, mean the same.
    #[error("{}: {} and {} mean the same, and only one of them can be used", path.display(), Shown(first), Shown(second))]
    Twice {
        /// The file.
        path: PathBuf,
        /// One of them, as the file spells it.
        first: String,
        /// The other.
        second: String,
    },
    /// Several of PEFT's adapters are in one file.
    #[error(
        "{} holds several adapters, {} and {} for {}: save each into a file of its own",
        path.display(), Shown(first), Shown(second), Shown(module)
    )]
    SeveralAdapters {
        /// The file.
        path: PathBuf,
        /// A module that they patch, as the file spells it.
        module: String,
        /// What PEFT calls one of them.
        first: String,
        /// What it calls another.
        second: String,
    },
    /// A tensor of a module has no use in the kind of adapter that the others make.
    #[error("{}: {} has no use beside the other tensors of its module, which are a {kind}", path.display(), Shown(tensor))]
    Surplus {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the others are.
        kind: &'static str,
    },
    /// An adapter has some of its tensors, but not all.
    #[error("{} has a part of {} only: {missing} is missing; download the file again, or ask its author", path.display(), Shown(module))]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The module, as the file spells it.
        module: String,
        /// What is missing.
        missing: &'static str,
    },
    /// A tensor of an adapter has an impossible shape.
    #[error("{}: {} has the shape {found:?}, expected {expected}", path.display(), Shown(tensor))]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: Vec<usize>,
    },
    /// A tensor holds a number that is not finite.
    #[error(
        "{}: {} holds {value}, which would spoil every image; the training that made this file diverged",
        path.display(), Shown(tensor)
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The first such number.
        value: f32,
    },
    /// The adapters do not fit the model.
    #[error("{} does not fit {}{report}", report.path.display(), report.model_sentence())]
    DoesNotFit {
        /// What fits, and what does not.
        report: Box<Report>,
    },
    /// A strength is no finite number.
    #[error("the strength of {} must be a finite number, found {strength}", path.display())]
    Strength {
        /// The file.
        path: PathBuf,
        /// The strength.
        strength: f64,
    },
    /// A control LoRA makes a model of another kind, which takes a control image.
    #[error(
        "{} is a control LoRA: it widens {} for a control image, and this pipeline draws from a prompt alone",
        path.display(), Shown(module)
    )]
    Control {
        /// The file.
        path: PathBuf,
        /// The widened module.
        module: String,
    },
}

/// Why a pipeline could not take a set of LoRAs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetLorasError<E: std::error::Error + 'static> {
    /// One of them cannot be used; the pipeline is as it was.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The pipeline's own files cannot be read any more.
    #[error(transparent)]
    Pipeline(E),
}

/// What is in a folder, in words.
fn holds(names: &[String]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return "this one is empty".to_owned();
    }
    let shown = names.iter().take(SHOWN).map(|name| Shown(name).to_string()).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    format!("this one holds {shown}{}", if more > 0 { format!(" and {more} more") } else { String::new() })
}
