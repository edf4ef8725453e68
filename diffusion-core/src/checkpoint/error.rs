//! What can be wrong with a checkpoint, said so that a newcomer knows what to do.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::gguf::problem::GgufProblem;
use crate::dduf::DdufError;

/// Why a checkpoint cannot be used. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be opened or read.
    #[error("cannot open {}; check that the path is right and the file readable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is not a whole, well-formed safetensors file.
    #[error(
        "{} is not a usable safetensors file: {reason}. It may be truncated: compare its size ({size} bytes) with the published one and download it again",
        path.display()
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
    #[error("{} is not a usable GGUF file: {problem}", path.display())]
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
    #[error("{} is {found}, expected a safetensors or GGUF file; {advice}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A folder holds no weights under the names that diffusers and transformers use.
    #[error("{} holds no weights; expected one of {expected}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// File names that were looked for.
        expected: String,
    },
    /// A folder is of a whole model, where the weights of one component are wanted.
    #[error("{} is a whole model, not one of its components; give the folder of one in it, such as {}", path.display(), path.join("transformer").display())]
    WholeModel {
        /// The folder, or the DDUF file.
        path: PathBuf,
    },
    /// A JSON file beside the weights cannot be understood.
    #[error("{} cannot be read as {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A shard that the index names is not there.
    #[error("{} names {shard}, which is not beside it; download the missing part into {}", index.display(), folder(index))]
    MissingShard {
        /// The index file.
        index: PathBuf,
        /// The missing file.
        shard: String,
    },
    /// A shard does not hold a tensor that the index promises.
    #[error("{} puts tensor {tensor} into {shard}, but that file does not hold it; index and shards are of different downloads", index.display())]
    TensorNotInShard {
        /// The index file.
        index: PathBuf,
        /// The shard.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// Names in the file do not cover what the model needs, or go beyond it.
    #[error("{} does not fit {model}: {mismatch}", path.display())]
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
        "{}: tensor {tensor} has shape {found:?}, {model} expects {expected:?}; the file belongs to another model or size",
        path.display()
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
    #[error("{}: tensor {tensor} is stored as {found}, expected {expected}", path.display())]
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
    #[error("{}: tensor {tensor} has {found} rows, expected {expected}", path.display())]
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
    #[error("{}: fp8 tensor {tensor} has no {tensor_scale}, though the file is marked as scaled; it was cut or converted badly", path.display())]
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
        path.display()
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
    #[error("loading {} was cancelled", path.display())]
    Cancelled {
        /// The file.
        path: PathBuf,
    },
    /// Two names in the file mean the same weight.
    #[error("{}: {first} and {second} both hold {target}", path.display())]
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
    path.parent().unwrap_or(Path::new(".")).display().to_string()
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
            let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
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
