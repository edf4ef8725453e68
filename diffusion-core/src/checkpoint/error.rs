//! What can be wrong with a checkpoint, said so that a newcomer knows what to do.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::gguf::problem::GgufProblem;
use crate::dduf::DdufError;
use crate::files::{OneLine, Shown};

/// Why a checkpoint cannot be used. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be opened or read.
    #[error("cannot open {}; check that the path is right and the file readable", OneLine(path.display()))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not a whole, well-formed safetensors file.
    #[error(
        "{} is not a usable safetensors file: {}. It may be truncated: compare its size ({size} bytes) with the published one and download it again",
        OneLine(path.display()), OneLine(reason)
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is no usable GGUF file.
    #[error("{} is not a usable GGUF file: {}", OneLine(path.display()), OneLine(problem))]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and with which tensor.
        problem: Box<GgufProblem>,
    },
    /// The DDUF file is none, or not as the format asks.
    #[error(transparent)]
    Dduf(DdufError),
    /// The file holds something else than weights in a format that is read.
    #[error("{} is {found}, expected a safetensors or GGUF file; {advice}", OneLine(path.display()))]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A folder holds no weights under the names that diffusers and transformers use.
    #[error("{} holds no weights; expected one of {expected}", OneLine(path.display()))]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// File names that were looked for.
        expected: String,
    },
    /// A folder is of a whole model, where the weights of one component are wanted.
    #[error("{} is a whole model, not one of its components; give the folder of one in it, such as {}", OneLine(path.display()), OneLine(path.join("transformer").display()))]
    WholeModel {
        /// The folder, or the DDUF file.
        path: PathBuf,
    },
    /// A JSON file beside the weights cannot be understood.
    #[error("{} cannot be read as {expected}", OneLine(path.display()))]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A shard that the index names is not there.
    #[error("{} names {}, which is not beside it; download the missing part into {}", OneLine(index.display()), Shown(shard), folder(index))]
    MissingShard {
        /// The index file.
        index: PathBuf,
        /// The missing file.
        shard: String,
    },
    /// A shard does not hold a tensor that the index promises.
    #[error(
        "{} puts tensor {} into {}, but that file does not hold it; index and shards are of different downloads, download them again together",
        OneLine(index.display()), Shown(tensor), Shown(shard)
    )]
    TensorNotInShard {
        /// The index file.
        index: PathBuf,
        /// The shard.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// A shard holds a tensor that the index does not know.
    #[error(
        "{} does not name tensor {}, but {} holds it; index and shards are of different downloads, download them again together",
        OneLine(index.display()), Shown(tensor), Shown(shard)
    )]
    TensorNotInIndex {
        /// The index file.
        index: PathBuf,
        /// The shard.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// A folder holds shards without the index that tells what is in which.
    #[error("{} holds {}, one part of several, but no index; download the file that ends in .safetensors.index.json too", OneLine(path.display()), Shown(shard))]
    NoIndex {
        /// The folder.
        path: PathBuf,
        /// A file of the folder.
        shard: String,
    },
    /// The weights are quantised in a format that is not read.
    #[error("{} is quantised as {} ({}), which is not read; {advice}", OneLine(path.display()), Shown(format), Shown(sign))]
    Quantised {
        /// The file, or the configuration that says so.
        path: PathBuf,
        /// What people call the format.
        format: String,
        /// What tells it.
        sign: String,
        /// What to do.
        advice: &'static str,
    },
    /// What a file notes of the format of a weight cannot be understood or does not fit.
    #[error("{}: {} notes {}, expected {expected}; the file was converted badly or by a newer program", OneLine(path.display()), Shown(note), Shown(found))]
    Note {
        /// The file.
        path: PathBuf,
        /// The tensor or header entry with the note, or the weight that it is about.
        note: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// Names in the file do not cover what the model needs, or go beyond it.
    #[error("{} does not fit {model}: {mismatch}", OneLine(path.display()))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What was to be loaded.
        model: String,
        /// The names.
        mismatch: Mismatch,
    },
    /// A tensor has another shape than the model.
    #[error(
        "{}: tensor {} has shape {found:?}, {model} expects {expected:?}; the file belongs to another model or size",
        OneLine(path.display()), Shown(tensor)
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// What was to be loaded.
        model: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
    /// A tensor is stored in a type that weights are not stored in.
    #[error("{}: tensor {} is stored as {found}, expected {expected}", OneLine(path.display()), Shown(tensor))]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What would do.
        expected: &'static str,
        /// The file's type.
        found: String,
    },
    /// A rule splits a tensor into rows that it does not have.
    #[error("{}: tensor {} has {found} rows, expected {expected}", OneLine(path.display()), Shown(tensor))]
    Rows {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Rows that the layout calls for.
        expected: usize,
        /// Rows that there are.
        found: usize,
    },
    /// An fp8 file says that its weights are scaled, and one has no scale.
    #[error(
        "{}: fp8 tensor {} has no {}, though the file is marked as scaled; it was cut or converted badly",
        OneLine(path.display()), Shown(tensor), Shown(tensor_scale)
    )]
    MissingScale {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The name that its scale should have.
        tensor_scale: String,
    },
    /// The file was written to since it was opened.
    #[error(
        "{} was changed while it was in use: it had {expected} bytes when it was opened, and has {found} now; leave the file alone, and open the model again",
        OneLine(path.display())
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size when it was opened, in bytes.
        expected: u64,
        /// Its size now.
        found: u64,
    },
    /// The caller cancelled the loading.
    #[error("loading {} was cancelled", OneLine(path.display()))]
    Cancelled {
        /// The file.
        path: PathBuf,
    },
    /// Two names in the file mean the same weight.
    #[error("{}: {} and {} both hold {}", OneLine(path.display()), Shown(first), Shown(second), Shown(target))]
    Twice {
        /// The file.
        path: PathBuf,
        /// One name.
        first: String,
        /// The other.
        second: String,
        /// What both mean.
        target: String,
    },
}

fn folder(path: &Path) -> String {
    OneLine(path.parent().unwrap_or(Path::new(".")).display()).to_string()
}

/// Names that a model needs and a file lacks, and names that the file has and no model part takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Needed, not in the file. In the model's terms.
    pub missing: Vec<String>,
    /// In the file, not needed. In the file's terms.
    pub unused: Vec<String>,
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |names: &[String], what: &str| {
            let shown = names.iter().take(5).map(|name| Shown(name).to_string()).collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(5);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} {what} ({shown}{more})", names.len())
        };
        match (self.missing.is_empty(), self.unused.is_empty()) {
            (false, false) => {
                write!(f, "{}, {}", part(&self.missing, "weights are missing"), part(&self.unused, "tensors are unknown to it"))
            }
            (false, true) => f.write_str(&part(&self.missing, "weights are missing")),
            (true, _) => f.write_str(&part(&self.unused, "tensors are unknown to it")),
        }
    }
}
