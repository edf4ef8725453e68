//! What blocks are modulated by, for many noise levels at once.

use burn::tensor::Tensor;

use super::modulation_layer::ModulationLayer;
use crate::checkpoint::CheckpointError;

/// What the modulation layers of a network's blocks give at some noise levels, under one conditioning.
///
/// It depends on noise level, pooled text and guidance, not on latents, so it can be computed before sampling: each matrix is then
/// read once for all levels, not once for each, and need not stay in memory
/// ([`Loading::releases_modulations`](crate::Loading::releases_modulations)). A block gets the same numbers either way.
#[derive(Clone, Debug)]
pub struct Modulations {
    sigmas: Vec<f64>,
    /// Images of one level.
    batch: usize,
    /// By block and layer, `[levels * batch, output_size]`. `None` of a layer whose patch may be another from one use to the next.
    blocks: Vec<Vec<Option<Tensor<2>>>>,
}

impl Modulations {
    /// Most bytes that they take, unless a single level takes more.
    pub const MOST_BYTES: usize = 256 << 20;

    /// What the layers of `blocks` give `batch` images at as many of the first `sigmas` as memory is spent on, at least one if
    /// there are any.
    /// `embed` gives the conditioning at these levels, `[levels * batch, hidden_size]`.
    ///
    /// # Errors
    /// [`CheckpointError`] if the network's file was written to since it was opened.
    pub(super) fn compute(
        blocks: &[Vec<ModulationLayer<'_>>],
        batch: usize,
        sigmas: &[f64],
        embed: impl FnOnce(&[f64]) -> Tensor<2>,
    ) -> Result<Self, CheckpointError> {
        if sigmas.is_empty() {
            return Ok(Self { sigmas: Vec::new(), batch, blocks: Vec::new() });
        }
        let width = blocks.iter().flatten().map(ModulationLayer::output_size).sum::<usize>();
        let most = Self::MOST_BYTES / (batch * width * size_of::<f32>()).max(1);
        let sigmas = &sigmas[..most.clamp(1, sigmas.len())];
        let conditioning = embed(sigmas);
        let mut next = blocks.iter().flatten().skip(1).map(|layer| layer.path.as_str());
        let mut forward = |layer: &ModulationLayer<'_>| {
            let next = next.next().unwrap_or(&layer.path);
            if layer.is_variable() { Ok(None) } else { layer.forward(conditioning.clone(), next).map(Some) }
        };
        let of_block = |layers: &Vec<ModulationLayer<'_>>| layers.iter().map(&mut forward).collect();
        let blocks = blocks.iter().map(of_block).collect::<Result<_, _>>()?;
        Ok(Self { sigmas: sigmas.to_vec(), batch, blocks })
    }

    /// The noise levels.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// Those of images with these noise levels, if all have the same one, and it is there.
    pub(super) fn of_images(&self, sigmas: &[f64]) -> Option<ModulationsOfImages<'_>> {
        let level = self.sigmas.iter().position(|sigma| sigmas.first() == Some(sigma))?;
        let are_alike = sigmas.len() == self.batch && sigmas.iter().all(|&sigma| sigma == self.sigmas[level]);
        are_alike.then_some(ModulationsOfImages { all: self, first: level * self.batch })
    }
}

/// The modulations of the images of one evaluation.
#[derive(Clone, Copy)]
pub(super) struct ModulationsOfImages<'a> {
    all: &'a Modulations,
    /// Row of the first image.
    first: usize,
}

impl ModulationsOfImages<'_> {
    /// What a layer of a block gives, `[batch, output_size]`, if it was computed.
    pub(super) fn of_layer(&self, block: usize, layer: usize) -> Option<Tensor<2>> {
        let results = self.all.blocks[block][layer].clone()?;
        Some(results.narrow(0, self.first, self.all.batch))
    }
}
