//! Files of random weights at published widths.

use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::parameter_shapes;
use diffusion_models::NetworkConfig;

/// Standard deviation of weights that keep the size of what they multiply; of FLUX.1's width, that of published ones.
pub(crate) fn weight_std(width: usize) -> f32 {
    (width as f32).sqrt().recip()
}

/// Numbers after which weights repeat; a prime, so that no two rows are alike.
const PERIOD: usize = 100_003;

/// A file of all weights of a network, in bf16, with this standard deviation.
pub(crate) fn write_network(path: &Path, config: &impl NetworkConfig, std: f32) -> Result<Checkpoint, Box<dyn Error>> {
    let values: Vec<f32> = TorchGenerator::new(3).normal(PERIOD).into_iter().map(|value| value * std).collect();
    let mut period = vec![0; 2 * PERIOD];
    Format::BF16.narrow(&values, &mut period);
    let shapes = parameter_shapes(&config.empty(&Device::flex()));
    let specs = shapes.into_iter().map(|(name, shape)| TensorSpec { name, shape, format: Format::BF16 });
    let specs: Vec<TensorSpec> = specs.collect();
    let sizes: Vec<usize> = specs.iter().map(|spec| 2 * spec.shape.iter().product::<usize>()).collect();
    let mut writer = CheckpointWriter::create(path, Container::Safetensors, specs, None)?;
    for size in sizes {
        let mut bytes = period.repeat(size.div_ceil(period.len()));
        bytes.truncate(size);
        writer.append(&bytes)?;
    }
    writer.finish()?;
    Ok(Checkpoint::open(path)?)
}
