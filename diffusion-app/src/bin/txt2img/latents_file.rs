//! Latents in safetensors files: the noise to start from, and what the steps made of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_app::output::write_whole;
use diffusion_core::checkpoint::Checkpoint;
use safetensors::tensor::{Dtype, TensorView};

/// Tensor `noise` of a file, which must have the shape of the image's latents.
pub(crate) fn read_noise(path: &Path, shape: [usize; 4], device: &Device) -> Result<Tensor<4>, Box<dyn Error>> {
    let file = Checkpoint::open(path)?;
    let noise = file.get("noise").ok_or_else(|| format!("{} has no tensor named noise", path.display()))?;
    if noise.shape() != shape {
        let found = noise.shape();
        return Err(format!("{}: tensor noise has shape {found:?}, this image needs {shape:?}", path.display()).into());
    }
    Ok(Tensor::from_data(TensorData::new(noise.to_f32()?, shape), (device, DType::F32)))
}

/// Write latents under their names.
pub(crate) fn write_latents(path: &Path, latents: &BTreeMap<String, Tensor<4>>) -> Result<(), Box<dyn Error>> {
    let read = |(name, tensor): (&String, &Tensor<4>)| (name.clone(), tensor.dims().to_vec(), tensor.to_data().into_bytes());
    let stored: Vec<_> = latents.iter().map(read).collect();
    let views = stored.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let bytes = safetensors::serialize(views, None)?;
    write_whole(path, |file| io::Write::write_all(file, &bytes))?;
    Ok(())
}
