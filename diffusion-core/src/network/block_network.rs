//! A network as what happens before, in and after its blocks, and the one runner of all such networks.
//!
//! The runner owns residency, read-ahead, skipped blocks and hooks. The first-block cache and the search for numbers that are
//! not finite are hooks. A trainer is another runner.

use burn::module::Module;
use burn::tensor::Tensor;

use super::denoiser_input::DenoiserInput;
use crate::checkpoint::CheckpointError;
use crate::weights::{LoadedNetwork, LoadedWeights};

/// A network of blocks, run one after the other.
pub trait BlockNetwork: LoadedNetwork {
    /// What goes from block to block: tokens, and what every block needs besides (modulation input, positions).
    type State: BlockState + Clone;

    /// The state before the first block.
    fn begin(&self, input: &DenoiserInput<'_>) -> Self::State;

    /// Number of blocks.
    fn num_blocks(&self) -> usize;

    /// A block; without weights if the network is streamed.
    fn block(&self, index: usize) -> &dyn RunBlock<Self::State>;

    /// The path of a block, such as `blocks.3`.
    fn block_path(&self, index: usize) -> String;

    /// The velocity after the last block, in f32.
    fn end(&self, state: Self::State) -> Tensor<4>;
}

/// What a hook sees and may change between blocks.
pub trait BlockState {
    /// The tokens of the image, `[batch, image_len, hidden_size]`.
    fn image_tokens(&self) -> Tensor<3>;

    /// Put others in their place.
    fn set_image_tokens(&mut self, tokens: Tensor<3>);

    /// All tokens, by the names of their streams.
    fn streams(&self) -> Vec<(&'static str, Tensor<3>)>;
}

/// A block of a network.
pub trait Block<S>: Module {
    /// The state after the block.
    fn forward(&self, state: S) -> S;
}

/// A [`Block`] behind a reference.
pub trait RunBlock<S> {
    /// Run the block, whose weights are read from their file first if they are streamed.
    ///
    /// # Errors
    /// [`CheckpointError`] if that file was written to since it was opened.
    fn run(&self, streamed: Option<StreamedBlock<'_>>, state: S) -> Result<S, CheckpointError>;
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
    fn run(&self, streamed: Option<StreamedBlock<'_>>, state: S) -> Result<S, CheckpointError> {
        let Some(StreamedBlock { weights, prefix, next_prefix }) = streamed else { return Ok(self.forward(state)) };
        weights.with_block(&prefix, &next_prefix, self.clone(), |block| block.forward(state))
    }
}

/// Hears of the blocks of a network while it runs, and may change what they give.
pub trait BlockHook {
    /// Hears of the state before the first block.
    fn before(&mut self, _input: &DenoiserInput<'_>, _state: &dyn BlockState) {}

    /// Hears of the state after a block.
    fn after(&mut self, block: &BlockPlace, state: &mut dyn BlockState) -> BlockFlow;
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
    let mut state = network.begin(input);
    hook.before(input, &state);
    for index in (0..num_blocks).filter(|index| !skipped_blocks.contains(index)) {
        let path = network.block_path(index);
        let streamed = weights.filter(|weights| weights.is_streamed()).map(|weights| StreamedBlock {
            weights,
            prefix: format!("{path}."),
            // After the last block comes the first, of the next step.
            next_prefix: format!("{}.", network.block_path((index + 1) % num_blocks)),
        });
        state = network.block(index).run(streamed, state)?;
        let label = path.replace("blocks.", "block ").replace('_', " ");
        if hook.after(&BlockPlace { index, num_blocks, label }, &mut state) == BlockFlow::SkipRest {
            break;
        }
    }
    Ok(network.end(state))
}
