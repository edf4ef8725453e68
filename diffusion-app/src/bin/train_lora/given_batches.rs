//! Batches from a file, for comparing with other trainers.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::checkpoint::Checkpoint;
use diffusion_lora::train::{Batch, Batches};
use diffusion_models::{Conditioning, Pipeline, TokenizedText};

/// The same batch for every step: `latents`, `noise`, `sigmas`, `prompt_embeds` and `pooled_prompt_embeds` of a file.
#[derive(Debug)]
pub(crate) struct GivenBatches(Batch);

impl GivenBatches {
    pub(crate) fn read(path: &Path, pipeline: &Pipeline) -> Result<Self, Box<dyn Error>> {
        let file = Checkpoint::open(path)?;
        let device = pipeline.device();
        let sigmas: Tensor<1> = tensor(&file, "sigmas", device)?;
        let sigmas: Vec<f64> = sigmas.into_data().iter::<f32>().map(f64::from).collect();
        let (latents, noise): (Tensor<4>, Tensor<4>) = (tensor(&file, "latents", device)?, tensor(&file, "noise", device)?);
        let conditioning = Conditioning {
            tokens: tensor(&file, "prompt_embeds", device)?,
            pooled: tensor(&file, "pooled_prompt_embeds", device)?,
        };
        let counts =
            [latents.dims()[0], noise.dims()[0], sigmas.len(), conditioning.tokens.dims()[0], conditioning.pooled.dims()[0]];
        if counts.iter().any(|&count| count != counts[0] || count == 0) || latents.dims() != noise.dims() {
            return Err(format!("{}: latents, noise, sigmas and embeddings are not of as many pictures", path.display()).into());
        }
        let (info, [_, channels, height, width]) = (pipeline.info(), latents.dims());
        let geometry = &info.geometry;
        let is_whole = |side: usize| side > 0 && side.is_multiple_of(geometry.patch_size);
        if channels != geometry.latent_channels || !is_whole(height) || !is_whole(width) {
            return Err(format!(
                "{}: latents are {channels} x {height} x {width}, and {} takes {} channels and sides that are multiples of {}",
                path.display(),
                info.path.display(),
                geometry.latent_channels,
                geometry.patch_size
            )
            .into());
        }
        let TokenizedText { token_width, pooled_width, .. } = pipeline.model().tokenize("", info.max_sequence_length)?;
        let found = [conditioning.tokens.dims()[2], conditioning.pooled.dims()[1]];
        if found != [token_width, pooled_width] {
            return Err(format!(
                "{}: embeddings are {} and {} wide, and {} takes {token_width} and {pooled_width}",
                path.display(),
                found[0],
                found[1],
                info.path.display()
            )
            .into());
        }
        let names = (1..=sigmas.len()).map(|index| format!("picture {index} of {}", path.display())).collect();
        let weights = vec![1.0 / sigmas.len() as f64; sigmas.len()];
        Ok(Self(Batch { latents, noise, sigmas, captions: Vec::new(), conditioning, weights, names }))
    }
}

impl Batches for GivenBatches {
    type Error = Infallible;

    fn batch(&mut self, _: usize) -> Result<Batch, Infallible> {
        Ok(self.0.clone())
    }
}

fn tensor<const D: usize>(file: &Checkpoint, name: &str, device: &Device) -> Result<Tensor<D>, Box<dyn Error>> {
    let stored = file.get(name).ok_or_else(|| format!("{} has no tensor {name}", file.path().display()))?;
    let shape = stored.shape().to_vec();
    if shape.len() != D {
        return Err(format!("{}: {name} has the shape {shape:?}, not {D} dimensions", file.path().display()).into());
    }
    Ok(Tensor::from_data(TensorData::new(stored.to_f32()?, shape), device))
}
