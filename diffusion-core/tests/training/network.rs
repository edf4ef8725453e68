//! A network of two matrices with a file of its own.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{CheckpointWriter, Container, TensorSpec};
use diffusion_core::format::Format;
use diffusion_core::noise::TorchGenerator;
use diffusion_core::weights::{LoadedNetwork, LoadedWeights, LowRankFactors, Projection, ProjectionConfig};
use diffusion_core::{Loading, Precision, Residency};

/// Two projections one after the other; the second belongs to a block that may be streamed.
#[derive(Module, Debug)]
pub(crate) struct Network {
    pub(crate) first: Projection,
    pub(crate) blocks: Vec<Projection>,
    #[module(skip)]
    pub(crate) weights: Option<LoadedWeights>,
}

pub(crate) const FIRST: &str = "first.weight";
pub(crate) const BLOCK: &str = "blocks.0.weight";
const RANK: usize = 2;

impl Network {
    pub(crate) fn new(width: usize, device: &Device) -> Self {
        let square = || ProjectionConfig::without_bias(width, width).init(device);
        Self { first: square(), blocks: vec![square()], weights: None }
    }

    /// The network that a file holds.
    pub(crate) fn load(path: &Path, width: usize, residency: Residency, device: &Device) -> Self {
        let (empty, checkpoint) = (Self::new(width, device), Checkpoint::open(path).unwrap());
        let loading = Loading::new(Precision::f32(), device).with_residency(residency);
        let (loaded, weights) = LoadedWeights::load(checkpoint, empty, &["blocks."], &loading).unwrap();
        Self { weights: Some(weights), ..loaded }
    }

    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.blocks[0].forward(self.first.forward(input))
    }

    /// Factors for both matrices.
    pub(crate) fn factors(width: usize, device: &Device) -> [(String, LowRankFactors); 2] {
        [FIRST, BLOCK].map(|path| {
            let seed = path.len() as u64;
            let [down, up] = [random(seed, [RANK, width], device), random(seed + 1, [width, RANK], device)];
            (path.to_owned(), LowRankFactors::new(down, up, 0.5))
        })
    }
}

impl LoadedNetwork for Network {
    fn weights(&self) -> Option<&LoadedWeights> {
        self.weights.as_ref()
    }

    fn weights_mut(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}

/// Numbers of about the size that keeps products of this width at the size of their input.
pub(crate) fn random(seed: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let values = TorchGenerator::new(seed).normal(shape[0] * shape[1]);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Write a network of this width, with matrices in `format`.
pub(crate) fn write(path: &Path, width: usize, format: Format) {
    let specs = [BLOCK, FIRST].map(|name| TensorSpec { name: name.to_owned(), shape: vec![width, width], format });
    let container = if format.block().elements > 1 { Container::Gguf } else { Container::Safetensors };
    let mut writer = CheckpointWriter::create(path, container, specs.to_vec(), None).unwrap();
    for seed in [1, 2] {
        let values = TorchGenerator::new(seed).normal(width * width);
        let mut bytes = vec![0; format.num_bytes(width * width).unwrap()];
        format.narrow(&values, &mut bytes);
        writer.append(&bytes).unwrap();
    }
    writer.finish().unwrap();
}
