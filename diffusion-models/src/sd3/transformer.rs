//! The transformer as a whole.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{DType, Device, FloatDType, Tensor, activation, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, PublishedNames};
use diffusion_core::projection::{ProjectionConfig, uninitialized};
use diffusion_core::{LoadedNetwork, LoadedWeights, Precision, Projection, Residency, VelocityModel, ops};

use super::block::JointBlock;
use super::config::Sd3Config;
use super::keys;
use crate::layers::{ConditioningMlp, TIMESTEP_EMBEDDING_SIZE, modulated_norm, timestep_embedding};
use crate::step_cache::FirstBlockCache;
use crate::watch::{Unwatched, Watch};

/// MMDiT (Stable Diffusion 3 and 3.5 Large) and MMDiT-X (3.5 Medium).
///
/// Reference: Stability-AI/sd3.5 `mmditx.py#L660`; diffusers `transformer_sd3.py#L80` at 58eb52c.
#[derive(Module, Debug)]
pub struct Sd3Transformer {
    patch_embedding: Conv2d,
    /// `[1, position_table_size², hidden_size]`, rows first.
    position_table: Param<Tensor<3>>,
    timestep_embedding: ConditioningMlp,
    pooled_embedding: ConditioningMlp,
    text_projection: Projection,
    blocks: Vec<JointBlock>,
    final_modulation: Projection,
    final_projection: Projection,
    #[module(skip)]
    config: Sd3Config,
    #[module(skip)]
    compute: FloatDType,
    /// Where its weights come from; `None` if it was not loaded.
    #[module(skip)]
    weights: Option<LoadedWeights>,
}

/// Prefix of the blocks' parameters.
const BLOCKS: &str = "blocks.";

/// The encoded prompt.
#[derive(Clone, Debug)]
pub struct Sd3Conditioning {
    /// Text tokens of CLIP and T5, `[batch, text_len, joint_attention_dim]`.
    pub text: Tensor<3>,
    /// Pooled embeddings of both CLIPs, `[batch, pooled_projection_dim]`.
    pub pooled: Tensor<2>,
}

impl Sd3Conditioning {
    /// Conditionings of equal length as one batch.
    ///
    /// # Panics
    /// If there are none.
    pub fn batched(parts: &[&Self]) -> Self {
        Self {
            text: Tensor::cat(parts.iter().map(|part| part.text.clone()).collect(), 0),
            pooled: Tensor::cat(parts.iter().map(|part| part.pooled.clone()).collect(), 0),
        }
    }
}

impl Sd3Config {
    /// Make the transformer, without allocating; see [`Sd3Transformer::load`].
    pub fn init(&self, compute: FloatDType, device: &Device) -> Sd3Transformer {
        let hidden_size = self.hidden_size();
        let patch = [self.patch_size; 2];
        let patch_embedding = Conv2dConfig::new([self.in_channels, hidden_size], patch).with_stride(patch);
        let patch_values = self.patch_size * self.patch_size * self.in_channels;
        Sd3Transformer {
            patch_embedding: patch_embedding.init(device),
            position_table: uninitialized([1, self.position_table_size.pow(2), hidden_size], device),
            timestep_embedding: ConditioningMlp::new(TIMESTEP_EMBEDDING_SIZE, hidden_size, device),
            pooled_embedding: ConditioningMlp::new(self.pooled_projection_dim, hidden_size, device),
            text_projection: ProjectionConfig::new(self.joint_attention_dim, hidden_size).init(device),
            blocks: (0..self.num_layers).map(|index| JointBlock::new(self, index, device)).collect(),
            final_modulation: ProjectionConfig::new(hidden_size, 2 * hidden_size).init(device),
            final_projection: ProjectionConfig::new(hidden_size, patch_values).init(device),
            config: self.clone(),
            compute,
            weights: None,
        }
    }

    /// A checkpoint of either layout under the names of the transformer's parameters, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when a fused tensor has other rows than these sizes, or two names mean one weight.
    pub fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let map = keys::key_map(&checkpoint, self);
        checkpoint.named("a Stable Diffusion 3 transformer of this size").renamed(&map)
    }

    /// What published files of both layouts call the transformer's parameters.
    pub fn published_names(&self) -> PublishedNames {
        let names = PublishedNames::of(&self.init(FloatDType::F32, &Device::default()));
        keys::layouts(self).iter().fold(names, |names, layout| names.with_layout(layout, ""))
    }
}

impl Sd3Transformer {
    /// Load a transformer from either layout, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint does not fit the configuration.
    pub fn load(
        checkpoint: Checkpoint,
        config: &Sd3Config,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Self, CheckpointError> {
        let empty = config.init(precision.compute, device);
        let (loaded, weights) = LoadedWeights::load(config.rename(checkpoint)?, empty, &[BLOCKS], precision, residency)?;
        Ok(Self { weights: Some(weights), ..loaded })
    }

    fn with_block<R>(&self, index: usize, device: &Device, work: impl FnOnce(&JointBlock) -> R) -> R {
        let Some(weights) = self.weights.as_ref().filter(|weights| weights.is_streamed()) else {
            return work(&self.blocks[index]);
        };
        // After the last block comes the first, of the next step.
        let next = format!("{BLOCKS}{}.", (index + 1) % self.blocks.len());
        weights.with_block(&format!("{BLOCKS}{index}."), Some(&next), JointBlock::new(&self.config, index, device), work)
    }

    /// Its sizes.
    pub fn config(&self) -> &Sd3Config {
        &self.config
    }

    /// The velocity, `noise - image`, at noise level `sigma`, leaving out the blocks in `skipped_layers`.
    ///
    /// # Shapes
    /// - latents: `[batch, in_channels, height, width]`, sides divisible by the patch size; result: the same, in f32
    /// # Panics
    /// If the picture is larger than the position table.
    pub fn forward(&self, latents: Tensor<4>, sigma: f64, conditioning: &Sd3Conditioning, skipped_layers: &[usize]) -> Tensor<4> {
        self.forward_watched(latents, sigma, conditioning, skipped_layers, &mut Unwatched)
    }

    /// [`forward`](Self::forward) of all blocks, or of the first alone where `cache` knows what the others add.
    pub fn forward_cached(
        &self,
        latents: Tensor<4>,
        sigma: f64,
        conditioning: &Sd3Conditioning,
        cache: &mut FirstBlockCache,
    ) -> Tensor<4> {
        self.forward_watched(latents, sigma, conditioning, &[], cache)
    }

    /// [`forward`](Self::forward), showing what every part gives.
    pub(super) fn forward_watched(
        &self,
        latents: Tensor<4>,
        sigma: f64,
        conditioning: &Sd3Conditioning,
        skipped_layers: &[usize],
        watch: &mut impl Watch,
    ) -> Tensor<4> {
        /// Timesteps of the training per unit of sigma.
        const TIMESTEPS: f32 = 1000.0;
        let [batch, _, height, width] = latents.dims();
        watch.see(&|| "the encoded prompt".to_owned(), &conditioning.text);
        watch.see(&|| "the latents before the step".to_owned(), &latents);
        let timestep = timestep_embedding(sigma as f32 * TIMESTEPS, batch, self.compute, &latents.device());
        let pooled = ops::cast(conditioning.pooled.clone(), self.compute);
        let text = ops::cast(conditioning.text.clone(), self.compute);

        let embedded = self.timestep_embedding.forward(timestep) + self.pooled_embedding.forward(pooled);
        let activated = activation::silu(embedded);
        let mut text = self.text_projection.forward(text);
        let mut image = self.embed_patches(ops::cast(latents, self.compute));
        let device = image.device();
        let mut after_first = None;
        for index in 0..self.blocks.len() {
            if !skipped_layers.contains(&index) {
                let before = image.clone();
                (image, text) = self.with_block(index, &device, |block| block.forward(image, text, &activated));
                watch.see(&|| format!("the image stream after block {index}"), &image);
                watch.see(&|| format!("the text stream after block {index}"), &text);
                if index == 0 {
                    if let Some(rest) = watch.rest_after_first(&before, &image) {
                        image = image + rest;
                        break;
                    }
                    after_first = Some(image.clone());
                }
            }
        }
        if let Some(after_first) = after_first {
            watch.learn_rest(&after_first, &image);
        }
        let modulation = self.final_modulation.forward(activated).split(self.config.hidden_size(), 1);
        let image = modulated_norm(image, modulation[0].clone(), modulation[1].clone());
        let patches = self.final_projection.forward(image).cast(DType::F32);
        self.join_patches(patches, height, width)
    }

    /// `[batch, in_channels, height, width]` to `[batch, patches, hidden_size]`, positions added.
    fn embed_patches(&self, latents: Tensor<4>) -> Tensor<3> {
        let patches = self.patch_embedding.forward(latents);
        let [_, hidden_size, rows, columns] = patches.dims();
        let tokens = patches.reshape([0, hidden_size as i32, -1]).swap_dims(1, 2);
        tokens + self.positions(rows, columns)
    }

    /// The middle of the position table, `[1, rows * columns, hidden_size]`.
    fn positions(&self, rows: usize, columns: usize) -> Tensor<3> {
        let size = self.config.position_table_size;
        assert!(rows <= size && columns <= size, "{rows} x {columns} patches for a position table of {size} x {size}");
        let hidden_size = self.config.hidden_size();
        let (top, left) = ((size - rows) / 2, (size - columns) / 2);
        let table = self.position_table.val().reshape([size, size, hidden_size]);
        let middle = table.slice([top..top + rows, left..left + columns]).reshape([1, rows * columns, hidden_size]);
        ops::cast(middle, self.compute)
    }

    /// `[batch, patches, patch_size² * in_channels]`, channels fastest, to `[batch, in_channels, height, width]`.
    fn join_patches(&self, patches: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
        let [batch, _, _] = patches.dims();
        let Sd3Config { patch_size, in_channels, .. } = self.config;
        let (rows, columns) = (height / patch_size, width / patch_size);
        assert_shape!(patches, [batch, rows * columns, patch_size * patch_size * in_channels]);
        let cells = patches.reshape([batch, rows, columns, patch_size, patch_size, in_channels]);
        cells.permute([0, 5, 1, 3, 2, 4]).reshape([batch, in_channels, height, width])
    }
}

impl LoadedNetwork for Sd3Transformer {
    fn weights(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}

impl VelocityModel for Sd3Transformer {
    type Conditioning = Sd3Conditioning;

    fn velocity(&self, latents: Tensor<4>, sigma: f64, conditioning: &Sd3Conditioning) -> Tensor<4> {
        self.forward(latents, sigma, conditioning, &[])
    }
}

#[cfg(test)]
mod tests;
