//! Latents in safetensors files: the noise to start from, and what the steps made of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError};
use safetensors::tensor::{Dtype, TensorView};

use crate::output::{WriteError, write_whole};

/// Name of the noise in a file.
const NOISE: &str = "noise";

/// Why noise could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadNoiseError {
    /// The file is no file of tensors, or cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file has no such tensor.
    #[error("{} has no tensor named {NOISE}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The noise is that of another image.
    #[error("{}: tensor {NOISE} has shape {found:?}, this image needs {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of the image's latents.
        expected: [usize; 4],
    },
    /// The noise has numbers that would spread through the whole image.
    #[error("{}: tensor {NOISE} has numbers that are not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
    },
}

/// Tensor `noise` of a file, which must have the shape of the image's latents.
///
/// # Errors
/// [`ReadNoiseError`] naming the file.
pub fn read_noise(path: &Path, shape: [usize; 4], device: &Device) -> Result<Tensor<4>, ReadNoiseError> {
    let file = Checkpoint::open(path)?;
    let noise = file.get(NOISE).ok_or_else(|| ReadNoiseError::Missing { path: path.to_owned() })?;
    if noise.shape() != shape {
        return Err(ReadNoiseError::Shape { path: path.to_owned(), found: noise.shape().to_vec(), expected: shape });
    }
    let values = noise.to_f32()?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(ReadNoiseError::NotFinite { path: path.to_owned() });
    }
    Ok(Tensor::from_data(TensorData::new(values, shape), (device, DType::F32)))
}

/// Write latents under their names.
///
/// # Errors
/// [`WriteError`].
pub fn write_latents(path: &Path, latents: &BTreeMap<String, Tensor<4>>) -> Result<(), WriteError> {
    let read = |(name, tensor): (&String, &Tensor<4>)| (name.clone(), tensor.dims().to_vec(), tensor.to_data().into_bytes());
    let stored: Vec<_> = latents.iter().map(read).collect();
    let views = stored.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let serialized = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let serialized = serialized.and_then(|views| safetensors::serialize(views, None)).map_err(io::Error::other);
    write_whole(path, |file| file.write_all(&serialized?))
}
