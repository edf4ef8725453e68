//! A network as what happens before, in and after its blocks, and the one runner of all such networks.
//!
//! The runner owns residency, read-ahead, skipped blocks and hooks. The first-block cache and the search for numbers that are
//! not finite are hooks. A trainer is another runner.

use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::Tensor;

use super::conditioning::Conditioning;
use super::denoiser_input::DenoiserInput;
use super::modulation_layer::ModulationLayer;
use super::modulations::Modulations;
use crate::checkpoint::CheckpointError;
use crate::weights::{LoadedNetwork, LoadedWeights, Projection};

/// A network of blocks, run one after the other.
pub trait BlockNetwork: LoadedNetwork {
    /// What goes from block to block: tokens, and what every block needs besides (positions).
    type State: BlockState + Clone + Debug + Send + 'static;

    /// Noise level, pooled text and guidance as the vector that modulation layers take.
    ///
    /// # Shapes
    /// - pooled: `[sigmas, pooled_projection_dim]`, result: `[sigmas, hidden_size]`
    fn embed_conditioning(&self, sigmas: &[f64], pooled: Tensor<2>, distilled_guidance: Option<f64>) -> Tensor<2>;

    /// The state before the first block.
    fn begin(&self, input: &DenoiserInput<'_>) -> Self::State;

    /// Number of blocks.
    fn num_blocks(&self) -> usize;

    /// A block; without weights if the network is streamed.
    fn block(&self, index: usize) -> &dyn RunBlock<Self::State>;

    /// The path of a block, such as `blocks.3`.
    fn block_path(&self, index: usize) -> String;

    /// The velocity after the last block, in f32.
    ///
    /// # Shapes
    /// - conditioning: `[batch, hidden_size]`
    fn end(&self, state: Self::State, conditioning: Tensor<2>) -> Tensor<4>;
}

/// What a hook sees and may change between blocks.
pub trait BlockState {
    /// The tokens of the image, `[batch, image_len, hidden_size]`.
    fn image_tokens(&self) -> Tensor<3>;

    /// Put others in their place.
    fn set_image_tokens(&mut self, tokens: Tensor<3>);

    /// The state with what `change` makes of each of its tensors of tokens, in an order that is always the same.
    #[must_use]
    fn map_tokens(self, change: &mut dyn FnMut(Tensor<3>) -> Tensor<3>) -> Self
    where
        Self: Sized;

    /// All tokens, by the names of their streams.
    fn streams(&self) -> Vec<(&'static str, Tensor<3>)>;
}

/// A block of a network.
pub trait Block<S>: Module {
    /// The layers that make modulations of the conditioning, by their paths in the block.
    fn modulation_layers(&self) -> Vec<(&'static str, &Projection)>;

    /// The state after the block.
    ///
    /// # Shapes
    /// - modulations: what each of the layers gives, `[batch, output_size]`
    fn forward(&self, state: S, modulations: &[Tensor<2>]) -> S;
}

/// A [`Block`] behind a reference.
pub trait RunBlock<S> {
    /// [`Block::modulation_layers`]; without weights if they are not kept in memory.
    fn modulation_layers(&self) -> Vec<(&'static str, &Projection)>;

    /// Run the block, whose weights are read from their file first if they are streamed.
    ///
    /// # Errors
    /// [`CheckpointError`] if that file was written to since it was opened.
    fn run(&self, streamed: Option<StreamedBlock<'_>>, state: S, modulations: &[Tensor<2>]) -> Result<S, CheckpointError>;
}

/// Where the weights of a streamed block are.
#[derive(Clone, Debug)]
pub struct StreamedBlock<'a> {
    /// The weights of its network.
    pub weights: &'a LoadedWeights,
    /// Prefix of its parameters.
    pub prefix: String,
    /// Prefix of the parameters of the block after it.
    pub next_prefix: String,
}

impl<S, B: Block<S>> RunBlock<S> for B {
    fn modulation_layers(&self) -> Vec<(&'static str, &Projection)> {
        Block::modulation_layers(self)
    }

    fn run(&self, streamed: Option<StreamedBlock<'_>>, state: S, modulations: &[Tensor<2>]) -> Result<S, CheckpointError> {
        let Some(StreamedBlock { weights, prefix, next_prefix }) = streamed else {
            return Ok(self.forward(state, modulations));
        };
        weights.with_block(&prefix, &next_prefix, self.clone(), |block| block.forward(state, modulations))
    }
}

/// Hears of the blocks of a network while it runs, and may change what they give.
pub trait BlockHook {
    /// Hears of the state before the first block.
    fn before(&mut self, _input: &DenoiserInput<'_>, _state: &dyn BlockState) {}

    /// Hears of the state after a block.
    fn after(&mut self, block: &BlockPlace, state: &mut dyn BlockState) -> BlockFlow;

    /// Whether it neither looks at anything nor changes it, so that blocks may be run without it.
    fn is_idle(&self) -> bool {
        false
    }
}

/// A block's place in its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Index of the block, from 0.
    pub index: usize,
    /// Number of blocks of the network.
    pub num_blocks: usize,
    /// What to call it: `double block 3`.
    pub label: String,
}

/// Whether the blocks after one are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFlow {
    /// They are.
    Continue,
    /// They are not: what they would give is known.
    SkipRest,
}

/// Hears of nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHook;

impl BlockHook for NoHook {
    fn after(&mut self, _: &BlockPlace, _: &mut dyn BlockState) -> BlockFlow {
        BlockFlow::Continue
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// What modulates the blocks of a network at the first of these noise levels, as many as memory is spent on and at least one.
///
/// # Errors
/// [`CheckpointError`] if the network's file was written to since it was opened.
pub fn modulations<N: BlockNetwork>(
    network: &N,
    sigmas: &[f64],
    conditioning: &Conditioning,
    distilled_guidance: Option<f64>,
) -> Result<Modulations, CheckpointError> {
    let layers: Vec<_> = (0..network.num_blocks()).map(|index| modulation_layers(network, index)).collect();
    let batch = conditioning.batch_size();
    Modulations::compute(&layers, batch, sigmas, |sigmas| {
        let of_images: Vec<f64> = sigmas.iter().flat_map(|&sigma| std::iter::repeat_n(sigma, batch)).collect();
        let pooled = conditioning.pooled.clone().repeat_dim(0, sigmas.len());
        network.embed_conditioning(&of_images, pooled, distilled_guidance)
    })
}

/// Prefixes of the parameters of all layers that [`modulations`] computes.
pub fn modulation_paths<N: BlockNetwork>(network: &N) -> Vec<String> {
    (0..network.num_blocks()).flat_map(|index| modulation_layers(network, index)).map(|layer| layer.path).collect()
}

pub(super) fn modulation_layers<N: BlockNetwork>(network: &N, block: usize) -> Vec<ModulationLayer<'_>> {
    let (path, weights) = (network.block_path(block), network.weights());
    let layer = |(name, projection)| ModulationLayer { path: format!("{path}.{name}."), projection, weights };
    network.block(block).modulation_layers().into_iter().map(layer).collect()
}

/// Where the weights of a block are, if they are streamed; those of the block `next` are read meanwhile.
pub(super) fn streamed_block<N: BlockNetwork>(network: &N, index: usize, next: usize) -> Option<StreamedBlock<'_>> {
    let prefix = |index| format!("{}.", network.block_path(index));
    let weights = network.weights().filter(|weights| weights.is_streamed())?;
    Some(StreamedBlock { weights, prefix: prefix(index), next_prefix: prefix(next) })
}

/// The vector that modulates the blocks of a network.
pub(super) fn embedded<N: BlockNetwork>(network: &N, input: &DenoiserInput<'_>) -> Tensor<2> {
    network.embed_conditioning(input.sigmas, input.conditioning.pooled.clone(), input.distilled_guidance)
}

/// What modulates a block: as it was computed ahead, or from the [embedded](embedded) conditioning.
fn modulations_of_block<N: BlockNetwork>(
    network: &N,
    index: usize,
    input: &DenoiserInput<'_>,
    conditioning: &Tensor<2>,
) -> Result<Vec<Tensor<2>>, CheckpointError> {
    let ahead = input.modulations.and_then(|ahead| ahead.of_images(input.sigmas));
    let layers = modulation_layers(network, index);
    let of_layer = |(layer, modulation): (usize, &ModulationLayer<'_>)| match ahead.and_then(|ahead| ahead.of_layer(index, layer))
    {
        Some(known) => Ok(known),
        None => modulation.forward(conditioning.clone(), &modulation.path),
    };
    layers.iter().enumerate().map(of_layer).collect()
}

/// What modulates all blocks.
pub(super) fn all_modulations<N: BlockNetwork>(
    network: &N,
    input: &DenoiserInput<'_>,
    conditioning: &Tensor<2>,
) -> Result<Vec<Vec<Tensor<2>>>, CheckpointError> {
    (0..network.num_blocks()).map(|index| modulations_of_block(network, index, input, conditioning)).collect()
}

/// The state after all blocks of a network whose weights are in memory.
///
/// # Panics
/// If they are streamed.
pub(super) fn run_blocks<N: BlockNetwork>(network: &N, state: N::State, modulations: &[Vec<Tensor<2>>]) -> N::State {
    modulations.iter().enumerate().fold(state, |state, (index, modulations)| {
        network.block(index).run(None, state, modulations).expect("a block in memory reads no file")
    })
}

/// The velocity that a network gives, without the blocks in `skipped_blocks`.
///
/// # Errors
/// [`CheckpointError`] if the network's file was written to since it was opened.
pub fn run<N: BlockNetwork>(
    network: &N,
    input: &DenoiserInput<'_>,
    skipped_blocks: &[usize],
    hook: &mut dyn BlockHook,
) -> Result<Tensor<4>, CheckpointError> {
    let (weights, num_blocks) = (network.weights(), network.num_blocks());
    weights.map_or(Ok(()), LoadedWeights::check_unchanged)?;
    let conditioning = embedded(network, input);
    let mut state = network.begin(input);
    hook.before(input, &state);
    for index in (0..num_blocks).filter(|index| !skipped_blocks.contains(index)) {
        // After the last block comes the first, of the next step.
        let streamed = streamed_block(network, index, (index + 1) % num_blocks);
        let modulations = modulations_of_block(network, index, input, &conditioning)?;
        state = network.block(index).run(streamed, state, &modulations)?;
        let label = network.block_path(index).replace("blocks.", "block ").replace('_', " ");
        if hook.after(&BlockPlace { index, num_blocks, label }, &mut state) == BlockFlow::SkipRest {
            break;
        }
    }
    Ok(network.end(state, conditioning))
}
