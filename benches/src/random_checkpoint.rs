//! Files of random weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec, WriteError};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use tempfile::TempDir;

/// Standard deviation of the weights, that of the initialisation of published models. Zeros would be kinder to caches and
/// branches than weights are.
const STD: f32 = 0.02;
/// So many numbers are drawn, and repeated: whole blocks of every format, and no divisor in common with the rows of a matrix.
const PERIOD: usize = 256 * 4099;
/// Parts of the names of what a run reads little of or nothing: tables, of which it takes some rows, and the autoencoder's encoder.
const HARDLY_READ: [&str; 4] = ["token_embedding", "position_table", "relative_position_bias", "encoder."];

/// A file of random weights under the names of a module's parameters, in a folder that goes with it.
#[derive(Debug)]
pub struct RandomCheckpoint {
    _folder: TempDir,
    path: PathBuf,
    num_bytes_read: usize,
}

impl RandomCheckpoint {
    /// Write tensors of these names and shapes: safetensors, or GGUF for blocks. As in published files, blocks are for matrices
    /// whose rows they divide; vectors are in f32 beside them, all else in f16.
    ///
    /// # Errors
    /// [`WriteError`] if the folder for temporary files has no room.
    pub fn write(shapes: &BTreeMap<String, Vec<usize>>, format: Format) -> Result<Self, WriteError> {
        let blocks = format.block().elements > 1;
        let container = if blocks { Container::Gguf } else { Container::Safetensors };
        let spec = |(name, shape): (&String, &Vec<usize>)| {
            let wanted = TensorSpec { name: name.clone(), shape: shape.clone(), format };
            let format = match shape.len() {
                _ if !blocks => format,
                0 | 1 => Format::F32,
                2 if wanted.num_bytes().is_some() => format,
                _ => Format::F16,
            };
            TensorSpec { format, ..wanted }
        };
        let specs: Vec<TensorSpec> = shapes.iter().map(spec).collect();
        let num_bytes = |spec: &TensorSpec| spec.num_bytes().unwrap_or_default();
        let is_read = |spec: &&TensorSpec| !HARDLY_READ.iter().any(|part| spec.name.contains(part));
        let num_bytes_read = specs.iter().filter(is_read).map(num_bytes).sum();

        let folder = tempfile::tempdir().map_err(|source| WriteError::Write { path: std::env::temp_dir(), source })?;
        let path = folder.path().join("weights").with_extension(container.extension());
        let mut writer = CheckpointWriter::create(&path, container, specs.clone(), None)?;
        let values: Vec<f32> = TorchGenerator::new(0).normal(PERIOD).into_iter().map(|value| STD * value).collect();
        let mut narrowed: Vec<(Format, Vec<u8>)> = Vec::new();
        for spec in &specs {
            let known = narrowed.iter().position(|(format, _)| *format == spec.format);
            let index = known.unwrap_or_else(|| {
                let mut bytes = vec![0; spec.format.num_bytes(PERIOD).unwrap_or_default()];
                spec.format.narrow(&values, &mut bytes);
                narrowed.push((spec.format, bytes));
                narrowed.len() - 1
            });
            writer.append(&repeated(&narrowed[index].1, num_bytes(spec)))?;
        }
        writer.finish()?;
        Ok(Self { _folder: folder, path, num_bytes_read })
    }

    /// Open the file.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is not there any more.
    pub fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(&self.path)
    }

    /// Bytes of all tensors that a run reads whole.
    pub fn num_bytes_read(&self) -> usize {
        self.num_bytes_read
    }
}

/// The first `len` bytes of `bytes` again and again.
fn repeated(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        all.extend_from_slice(&bytes[..bytes.len().min(len - all.len())]);
    }
    all
}
