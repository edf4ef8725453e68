//! The transformer as a whole.

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap, Layout};
use diffusion_core::ops::{self, Activation, Rotations};
use diffusion_core::weights::{LoadedNetwork, LoadedWeights, Loading, Projection, ProjectionConfig};

use super::block::{DoubleBlock, SingleBlock};
use super::config::{DistilledGuidance, FluxConfig, PATCH_CHANNELS};
use super::patches::KnownPositions;
use super::{keys, patches};
use crate::layers::{ConditioningMlp, TIMESTEP_EMBEDDING_SIZE, modulated_norm, modulations, timestep_embeddings};
use crate::network_config::{NetworkConfig, WeightKeeping};
use diffusion_core::network::DenoiserInput;
use diffusion_core::network::block_network::{Block, BlockNetwork, BlockState, RunBlock, modulation_paths};

/// FLUX.1's transformer.
///
/// Reference: black-forest-labs/flux `model.py#L84-L119` at 802fb47; diffusers `transformer_flux.py#L525` at 58eb52c.
#[derive(Module, Debug)]
pub struct FluxTransformer {
    image_projection: Projection,
    text_projection: Projection,
    timestep_embedding: ConditioningMlp,
    guidance_embedding: Option<ConditioningMlp>,
    pooled_embedding: ConditioningMlp,
    double_blocks: Vec<DoubleBlock>,
    single_blocks: Vec<SingleBlock>,
    final_modulation: Projection,
    final_projection: Projection,
    #[module(skip)]
    config: FluxConfig,
    #[module(skip)]
    compute: FloatDType,
    #[module(skip)]
    positions: KnownPositions,
    /// Where its weights come from; `None` if it was not loaded.
    #[module(skip)]
    weights: Option<LoadedWeights>,
}

/// Prefixes of the blocks' parameters.
const DOUBLE: &str = "double_blocks.";
const SINGLE: &str = "single_blocks.";

/// What goes from block to block.
#[derive(Clone, Debug)]
pub struct FluxState {
    tokens: Tokens,
    text_len: usize,
    rotations: Rotations,
    /// Height and width of the latents.
    size: [usize; 2],
}

/// Tokens of text and image, `[batch, seq_len, hidden_size]`.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Tokens {
    /// Apart, as double blocks take them.
    Apart { image: Tensor<3>, text: Tensor<3> },
    /// In one row, text first, as single blocks take them.
    Joined(Tensor<3>),
}

impl Tokens {
    fn joined(self) -> Tensor<3> {
        match self {
            Self::Apart { image, text } => Tensor::cat(vec![text, image], 1),
            Self::Joined(tokens) => tokens,
        }
    }

    fn apart(self, text_len: usize) -> (Tensor<3>, Tensor<3>) {
        match self {
            Self::Apart { image, text } => (image, text),
            Self::Joined(tokens) => {
                let [_, len, _] = tokens.dims();
                (tokens.clone().narrow(1, text_len, len - text_len), tokens.narrow(1, 0, text_len))
            }
        }
    }
}

impl BlockState for FluxState {
    fn image_tokens(&self) -> Tensor<3> {
        self.tokens.clone().apart(self.text_len).0
    }

    fn set_image_tokens(&mut self, tokens: Tensor<3>) {
        let (_, text) = self.tokens.clone().apart(self.text_len);
        self.tokens = Tokens::Apart { image: tokens, text };
    }

    fn map_tokens(self, change: &mut dyn FnMut(Tensor<3>) -> Tensor<3>) -> Self {
        let tokens = match self.tokens {
            Tokens::Apart { image, text } => Tokens::Apart { image: change(image), text: change(text) },
            Tokens::Joined(tokens) => Tokens::Joined(change(tokens)),
        };
        Self { tokens, ..self }
    }

    fn streams(&self) -> Vec<(&'static str, Tensor<3>)> {
        let (image, text) = self.tokens.clone().apart(self.text_len);
        vec![("image stream", image), ("text stream", text)]
    }
}

impl Block<FluxState> for DoubleBlock {
    fn modulation_layers(&self) -> Vec<(&'static str, &Projection)> {
        self.modulation_layers().into()
    }

    fn forward(&self, state: FluxState, modulations: &[Tensor<2>]) -> FluxState {
        let (image, text) = state.tokens.apart(state.text_len);
        let (image, text) = self.attend(image, text, [&modulations[0], &modulations[1]], &state.rotations);
        FluxState { tokens: Tokens::Apart { image, text }, ..state }
    }
}

impl Block<FluxState> for SingleBlock {
    fn modulation_layers(&self) -> Vec<(&'static str, &Projection)> {
        self.modulation_layers().into()
    }

    fn forward(&self, state: FluxState, modulations: &[Tensor<2>]) -> FluxState {
        let tokens = self.attend(state.tokens.joined(), &modulations[0], &state.rotations);
        FluxState { tokens: Tokens::Joined(tokens), ..state }
    }
}

impl FluxConfig {
    /// Make the transformer, without allocating; see [`FluxTransformer::load`].
    pub fn init(&self, compute: FloatDType, device: &Device) -> FluxTransformer {
        let hidden_size = self.hidden_size();
        let embedding = |size| ConditioningMlp::new(size, hidden_size, device);
        let guided = self.guidance == DistilledGuidance::Embedded;
        FluxTransformer {
            image_projection: ProjectionConfig::new(self.in_channels, hidden_size).init(device),
            text_projection: ProjectionConfig::new(self.joint_attention_dim, hidden_size).init(device),
            timestep_embedding: embedding(TIMESTEP_EMBEDDING_SIZE),
            guidance_embedding: guided.then(|| embedding(TIMESTEP_EMBEDDING_SIZE)),
            pooled_embedding: embedding(self.pooled_projection_dim),
            double_blocks: (0..self.num_double_layers).map(|_| DoubleBlock::new(self, device)).collect(),
            single_blocks: (0..self.num_single_layers).map(|_| SingleBlock::new(self, device)).collect(),
            final_modulation: ProjectionConfig::new(hidden_size, 2 * hidden_size).init(device),
            final_projection: ProjectionConfig::new(hidden_size, PATCH_CHANNELS).init(device),
            config: self.clone(),
            compute,
            positions: KnownPositions::default(),
            weights: None,
        }
    }
}

impl NetworkConfig for FluxConfig {
    type Network = FluxTransformer;

    const KEEPING: WeightKeeping = WeightKeeping::Streamable;

    fn empty(&self, device: &Device) -> FluxTransformer {
        self.init(FloatDType::F32, device)
    }

    fn rename(&self, checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        let map = keys::key_map(&checkpoint, self);
        checkpoint.named("a FLUX.1 transformer of this size").renamed(&map)
    }

    fn released(&self) -> Vec<String> {
        modulation_paths(&self.empty(&Device::default()))
    }

    fn layouts(&self) -> Vec<(Layout, KeyMap, &'static str)> {
        keys::layouts(self).map(|(layout, map)| (layout, map, "")).into()
    }
}

impl FluxTransformer {
    /// Load a transformer from either layout, any prefix already taken off.
    ///
    /// # Errors
    /// [`CheckpointError`] when the checkpoint does not fit the configuration.
    pub fn load(checkpoint: Checkpoint, config: &FluxConfig, loading: &Loading<'_>) -> Result<Self, CheckpointError> {
        let empty = config.init(loading.precision.compute, loading.device);
        let (checkpoint, modulations) = (config.rename(checkpoint)?, modulation_paths(&empty));
        let (loaded, weights) = LoadedWeights::load_apart(checkpoint, empty, &[DOUBLE, SINGLE], modulations, loading)?;
        Ok(Self { weights: Some(weights), ..loaded })
    }

    /// Its sizes.
    pub fn config(&self) -> &FluxConfig {
        &self.config
    }
}

impl BlockNetwork for FluxTransformer {
    type State = FluxState;

    /// Guidance that is not given is none, 0. Every block applies SiLU to the same vector, so it is done here.
    fn embed_conditioning(&self, sigmas: &[f64], pooled: Tensor<2>, distilled_guidance: Option<f64>) -> Tensor<2> {
        /// Both the noise level and the guidance are embedded in thousandths.
        const THOUSANDTHS: f32 = 1000.0;
        let device = pooled.device();
        let sinusoids =
            |values: &[f64]| timestep_embeddings(values.iter().map(|&value| value as f32 * THOUSANDTHS), self.compute, &device);
        let timestep = self.timestep_embedding.forward(sinusoids(sigmas));
        let pooled = self.pooled_embedding.forward(ops::cast(pooled, self.compute));
        Activation::Silu.apply(match &self.guidance_embedding {
            Some(embedding) => {
                let guidance = vec![distilled_guidance.unwrap_or(0.0); sigmas.len()];
                timestep + embedding.forward(sinusoids(&guidance)) + pooled
            }
            None => timestep + pooled,
        })
    }

    /// # Shapes
    /// - latents: `[batch, 16, height, width]`, even sides
    fn begin(&self, input: &DenoiserInput<'_>) -> FluxState {
        let [_, _, height, width] = input.latents.dims();
        let [_, text_len, _] = input.conditioning.tokens.dims();
        let image = patches::pack(ops::cast(input.latents.clone(), self.compute));
        FluxState {
            tokens: Tokens::Apart {
                image: self.image_projection.forward_exactly(image),
                text: self.text_projection.forward_exactly(ops::cast(input.conditioning.tokens.clone(), self.compute)),
            },
            text_len,
            rotations: self.positions.of(&self.config, text_len, height, width, &input.latents.device()),
            size: [height, width],
        }
    }

    fn num_blocks(&self) -> usize {
        self.double_blocks.len() + self.single_blocks.len()
    }

    fn block(&self, index: usize) -> &dyn RunBlock<FluxState> {
        match index.checked_sub(self.double_blocks.len()) {
            None => &self.double_blocks[index],
            Some(single) => &self.single_blocks[single],
        }
    }

    fn block_path(&self, index: usize) -> String {
        match index.checked_sub(self.double_blocks.len()) {
            None => format!("{DOUBLE}{index}"),
            Some(single) => format!("{SINGLE}{single}"),
        }
    }

    fn end(&self, state: FluxState, conditioning: Tensor<2>) -> Tensor<4> {
        let [shift, scale] = modulations(&self.final_modulation.forward_exactly(conditioning));
        let (image, _) = state.tokens.apart(state.text_len);
        let patches = self.final_projection.forward_exactly(modulated_norm(image, &shift, &scale)).cast(DType::F32);
        patches::unpack(patches, state.size)
    }
}

impl LoadedNetwork for FluxTransformer {
    fn weights(&self) -> Option<&LoadedWeights> {
        self.weights.as_ref()
    }

    fn weights_mut(&mut self) -> &mut Option<LoadedWeights> {
        &mut self.weights
    }
}
