//! The transformer as a whole.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{DType, Device, FloatDType, Tensor, assert_shape};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap, Layout};
use diffusion_core::ops::{self, Activation};
use diffusion_core::weights::{LoadedNetwork, LoadedWeights, Loading, Projection, ProjectionConfig, uninitialized};

use super::block::JointBlock;
use super::config::Sd3Config;
use super::keys;
use crate::layers::{ConditioningMlp, TIMESTEP_EMBEDDING_SIZE, modulated_norm, modulations, timestep_embeddings};
use crate::network_config::{NetworkConfig, WeightKeeping};
use diffusion_core::network::DenoiserInput;
use diffusion_core::network::block_network::{Block, BlockNetwork, BlockState, RunBlock, modulation_paths};

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

/// What goes from block to block.
#[derive(Clone, Debug)]
pub struct Sd3State {
    /// Image tokens, `[batch, image_len, hidden_size]`.
    pub image: Tensor<3>,
    /// Text tokens, `[batch, text_len, hidden_size]`.
    pub text: Tensor<3>,
    /// Height and width of the latents.
    size: [usize; 2],
}

impl BlockState for Sd3State {
    fn image_tokens(&self) -> Tensor<3> {
        self.image.clone()
    }

    fn set_image_tokens(&mut self, tokens: Tensor<3>) {
        self.image = tokens;
    }

    fn map_tokens(self, change: &mut dyn FnMut(Tensor<3>) -> Tensor<3>) -> Self {
        Self { image: change(self.image), text: change(self.text), ..self }
    }

    fn streams(&self) -> Vec<(&'static str, Tensor<3>)> {
        vec![("image stream", self.image.clone()), ("text stream", self.text.clone())]
    }
}

impl Block<Sd3State> for JointBlock {
    fn modulation_layers(&self) -> Vec<(&'static str, &Projection)> {
        self.modulation_layers().into()
    }

    fn forward(&self, state: Sd3State, modulations: &[Tensor<2>]) -> Sd3State {
        let (image, text) = self.attend(state.image, state.text, [&modulations[0], &modulations[1]]);
        Sd3State { image, text, ..state }
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
}

impl NetworkConfig for Sd3Config {
    type Network = Sd3Transformer;

    const KEEPING: WeightKeeping = WeightKeeping::Streamable;

    fn empty(&self, device: &Device) -> Sd3Transformer {
        self.init(FloatDType::F32, device)
    }

    fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let map = keys::key_map(&checkpoint, self);
        checkpoint.named("a Stable Diffusion 3 transformer of this size").renamed(&map)
    }

    fn released(&self) -> Vec<String> {
        modulation_paths(&self.empty(&Device::default()))
    }

    fn layouts(&self) -> Vec<(Layout, KeyMap, &'static str)> {
        keys::layouts(self).map(|(layout, map)| (layout, map, "")).into()
    }
}

impl Sd3Transformer {
    /// Load a transformer from either layout, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint does not fit the configuration.
    pub fn load(checkpoint: Checkpoint, config: &Sd3Config, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        let empty = config.init(loading.precision.compute, loading.device);
        let (checkpoint, modulations) = (config.rename(checkpoint)?, modulation_paths(&empty));
        let (loaded, weights) = LoadedWeights::load_apart(checkpoint, empty, &[BLOCKS], modulations, loading)?;
        Ok(Self { weights: Some(weights), ..loaded })
    }

    /// Its sizes.
    pub fn config(&self) -> &Sd3Config {
        &self.config
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
    fn join_patches(&self, patches: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
        let [batch, _, _] = patches.dims();
        let Sd3Config { patch_size, in_channels, .. } = self.config;
        let (rows, columns) = (height / patch_size, width / patch_size);
        assert_shape!(patches, [batch, rows * columns, patch_size * patch_size * in_channels]);
        let pixels = patches.reshape([batch, rows, columns, patch_size, patch_size, in_channels]);
        pixels.permute([0, 5, 1, 3, 2, 4]).reshape([batch, in_channels, height, width])
    }
}

impl BlockNetwork for Sd3Transformer {
    type State = Sd3State;

    /// Every block applies SiLU to the same vector, so it is done here.
    fn embed_conditioning(&self, sigmas: &[f64], pooled: Tensor<2>, _: Option<f64>) -> Tensor<2> {
        /// Timesteps of the training per unit of sigma.
        const TIMESTEPS: f32 = 1000.0;
        let timesteps = sigmas.iter().map(|&sigma| sigma as f32 * TIMESTEPS);
        let timesteps = timestep_embeddings(timesteps, self.compute, &pooled.device());
        let pooled = ops::cast(pooled, self.compute);
        Activation::Silu.apply(self.timestep_embedding.forward(timesteps) + self.pooled_embedding.forward(pooled))
    }

    /// # Shapes
    /// - latents: `[batch, in_channels, height, width]`, sides divisible by the patch size
    /// # Panics
    /// If the image is larger than the position table.
    fn begin(&self, input: &DenoiserInput<'_>) -> Sd3State {
        let [_, _, height, width] = input.latents.dims();
        Sd3State {
            image: self.embed_patches(ops::cast(input.latents.clone(), self.compute)),
            text: self.text_projection.forward_exactly(ops::cast(input.conditioning.tokens.clone(), self.compute)),
            size: [height, width],
        }
    }

    fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, index: usize) -> &dyn RunBlock<Sd3State> {
        &self.blocks[index]
    }

    fn block_path(&self, index: usize) -> String {
        format!("{BLOCKS}{index}")
    }

    fn end(&self, state: Sd3State, conditioning: Tensor<2>) -> Tensor<4> {
        let [shift, scale] = modulations(&self.final_modulation.forward_exactly(conditioning));
        let patches = self.final_projection.forward_exactly(modulated_norm(state.image, &shift, &scale)).cast(DType::F32);
        self.join_patches(patches, state.size)
    }
}

impl LoadedNetwork for Sd3Transformer {
    fn weights(&self) -> Option<&LoadedWeights> {
        self.weights.as_ref()
    }

    fn weights_mut(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}

#[cfg(test)]
mod tests;
