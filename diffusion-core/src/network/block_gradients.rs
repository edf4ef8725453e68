//! Gradients of what is trained beside a network, one block's graph at a time.
//!
//! The first pass keeps what goes into each block and nothing else. Then, from the last block to the first, each is run again
//! with its graph, which goes when its gradients are known. So memory holds the inputs of all blocks and the graph of one, and
//! streamed blocks are in memory one at a time, as they are when images are drawn.
//!
//! Where the gradient of the conditioning is asked for, the vector that modulates blocks is an input of every block's graph, and
//! its gradients add up. What comes before the blocks is run again with a graph at the end.

use std::collections::BTreeMap;

use burn::tensor::{Gradients, Tensor};

use super::block_network::{BlockNetwork, BlockState, modulation_layers, streamed_block};
use super::conditioning::Conditioning;
use super::denoiser_input::DenoiserInput;
use crate::checkpoint::CheckpointError;
use crate::weights::{LoadedWeights, RecordedUses, TrainedParameter};

/// What is trained beside the matrices of a network, by the paths of these matrices.
pub type TrainedParameters = BTreeMap<String, Vec<TrainedParameter>>;

/// How gradients are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GradientOptions {
    /// How many blocks, from the last, are not run again, since their graphs are kept: that takes memory and saves time.
    pub kept_graphs: usize,
    /// Whether the gradient with respect to the conditioning is computed too, as training text encoders needs it. It takes time.
    pub of_conditioning: bool,
}

/// What [`block_gradients`] gives, besides the gradients that parameters keep.
#[derive(Clone, Debug)]
pub struct BlockGradients {
    /// The velocity that the network gives.
    pub velocity: Tensor<4>,
    /// The gradient of the loss with respect to the conditioning, if it was asked for.
    pub of_conditioning: Option<Conditioning>,
}

/// Add the gradients of a loss to `trained`, by [`TrainedParameter::take_gradient`].
///
/// `of_velocity` gets the velocity that the network gives and returns the gradient of the loss with respect to it. What is
/// trained has to be part of the network's [patches](LoadedWeights::patch); only matrices of blocks can be.
///
/// # Shapes
/// - velocity and its gradient: as the latents
/// # Errors
/// [`CheckpointError`] if the network's file was written to since it was opened.
pub fn block_gradients<N: BlockNetwork>(
    network: &N,
    input: &DenoiserInput<'_>,
    trained: &TrainedParameters,
    options: GradientOptions,
    of_velocity: &mut dyn FnMut(Tensor<4>) -> Tensor<4>,
) -> Result<BlockGradients, CheckpointError> {
    network.weights().map_or(Ok(()), LoadedWeights::check_unchanged)?;
    let num_blocks = network.num_blocks();
    let Conditioning { pooled, .. } = input.conditioning;
    let conditioning = network.embed_conditioning(input.sigmas, pooled.clone(), input.distilled_guidance);
    // The last block has a graph of its own in any case: it is run once.
    let first_kept = num_blocks.saturating_sub(options.kept_graphs.max(1));
    let of_conditioning = options.of_conditioning.then(|| conditioning.zeros_like());
    let mut run = Run { network, trained, conditioning, of_conditioning };

    let mut inputs = Vec::with_capacity(num_blocks);
    let mut state = network.begin(input);
    for index in 0..first_kept {
        inputs.push(state.clone());
        state = run.block(index, index + 1, state, &run.conditioning)?;
    }

    let mut kept = Vec::new();
    for index in first_kept..num_blocks {
        let watched = run.watch(index, state)?;
        state = watched.output.clone().map_tokens(&mut |tokens| tokens.without_autodiff());
        kept.push(watched);
    }
    let (mut gradients, velocity) = {
        let (leaves, conditioning) = (Leaves::of(state), run.conditioning());
        let velocity = network.end(leaves.state.clone(), conditioning.clone());
        let plain = velocity.clone().without_autodiff();
        let gradient = of_velocity(plain.clone());
        let gradients = (velocity * gradient.autodiff()).sum().backward();
        run.add_of_conditioning(&conditioning, &gradients);
        (leaves.gradients(&gradients), plain)
    };
    while let Some(watched) = kept.pop() {
        gradients = run.gradients(watched, &gradients);
    }
    for (index, input) in inputs.into_iter().enumerate().rev() {
        let watched = run.watch(index, input)?;
        gradients = run.gradients(watched, &gradients);
    }
    let of_conditioning = run.of_conditioning.map(|of_embedded| before_blocks(network, input, &gradients, of_embedded));
    Ok(BlockGradients { velocity, of_conditioning })
}

/// The gradient of the conditioning, from those of the state before the first block and of the vector that modulates blocks.
fn before_blocks<N: BlockNetwork>(
    network: &N,
    input: &DenoiserInput<'_>,
    of_state: &[Option<Tensor<3>>],
    of_embedded: Tensor<2>,
) -> Conditioning {
    let Conditioning { tokens, pooled } = input.conditioning;
    let watched = Conditioning { tokens: leaf(tokens.clone()), pooled: leaf(pooled.clone()) };
    let state = network.begin(&DenoiserInput { conditioning: &watched, ..input.clone() });
    let embedded = network.embed_conditioning(input.sigmas, watched.pooled.clone(), input.distilled_guidance);
    let of_embedded = (embedded * of_embedded.autodiff()).sum();
    let sum = match product(state, of_state) {
        Some(of_state) => of_state + of_embedded,
        None => of_embedded,
    };
    let gradients = sum.backward();
    Conditioning {
        tokens: watched.tokens.grad(&gradients).unwrap_or_else(|| tokens.zeros_like()),
        pooled: watched.pooled.grad(&gradients).unwrap_or_else(|| pooled.zeros_like()),
    }
}

/// What all blocks of a run have in common.
struct Run<'a, N> {
    network: &'a N,
    trained: &'a TrainedParameters,
    /// What modulates blocks.
    conditioning: Tensor<2>,
    /// The sum of its gradients so far, if they are asked for.
    of_conditioning: Option<Tensor<2>>,
}

/// A block that was run with its graph.
struct Watched<S> {
    leaves: Leaves<S>,
    conditioning: Tensor<2>,
    output: S,
    uses: RecordedUses,
}

impl<N: BlockNetwork> Run<'_, N> {
    /// The state after a block. The block `next` is read from its file meanwhile if blocks are streamed.
    fn block(&self, index: usize, next: usize, state: N::State, conditioning: &Tensor<2>) -> Result<N::State, CheckpointError> {
        let layers = modulation_layers(self.network, index);
        let modulations = layers.iter().map(|layer| layer.forward(conditioning.clone(), &layer.path));
        let modulations = modulations.collect::<Result<Vec<_>, _>>()?;
        self.network.block(index).run(streamed_block(self.network, index, next), state, &modulations)
    }

    /// What modulates blocks, for a graph of its own: an input of that graph if its gradient is asked for.
    fn conditioning(&self) -> Tensor<2> {
        let conditioning = self.conditioning.clone();
        if self.of_conditioning.is_some() { leaf(conditioning) } else { conditioning }
    }

    /// Add the gradient of one that [`conditioning`](Self::conditioning) gave.
    fn add_of_conditioning(&mut self, conditioning: &Tensor<2>, gradients: &Gradients) {
        if let Some(sum) = &mut self.of_conditioning
            && let Some(gradient) = conditioning.grad(gradients)
        {
            *sum = sum.clone() + gradient;
        }
    }

    fn watch(&self, index: usize, state: N::State) -> Result<Watched<N::State>, CheckpointError> {
        let (leaves, conditioning) = (Leaves::of(state), self.conditioning());
        let uses = RecordedUses::of(self.trained_in(index));
        let output = self.block(index, index.saturating_sub(1), leaves.state.clone(), &conditioning)?;
        Ok(Watched { leaves, conditioning, output, uses })
    }

    /// Record the gradients of what is trained in a block, from those of its output; those of its input.
    fn gradients(&mut self, watched: Watched<N::State>, of_output: &[Option<Tensor<3>>]) -> Vec<Option<Tensor<3>>> {
        let Watched { leaves, conditioning, output, uses } = watched;
        let Some(gradients) = product(output, of_output).map(|sum| sum.backward()) else { return Vec::new() };
        uses.finish(&gradients);
        self.add_of_conditioning(&conditioning, &gradients);
        leaves.gradients(&gradients)
    }

    fn trained_in(&self, block: usize) -> impl Iterator<Item = &TrainedParameter> {
        let prefix = format!("{}.", self.network.block_path(block));
        let of_block = self.trained.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix));
        of_block.flat_map(|(_, parameters)| parameters)
    }
}

/// The sum of the products of tokens and their gradients, whose gradients with respect to the tokens are these. `None` if autodiff
/// watches none of the tokens, or nothing depends on them.
fn product<S: BlockState>(state: S, gradients: &[Option<Tensor<3>>]) -> Option<Tensor<1>> {
    let mut gradients = gradients.iter();
    let mut sum: Option<Tensor<1>> = None;
    let _ = state.map_tokens(&mut |tokens| {
        if let Some(gradient) = gradients.next().into_iter().flatten().next()
            && tokens.is_tracked()
        {
            let product = (tokens.clone() * gradient.clone().autodiff()).sum();
            sum = Some(match sum.take() {
                Some(sum) => sum + product,
                None => product,
            });
        }
        tokens
    });
    sum
}

fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.without_autodiff().autodiff().require_grad()
}

/// A state whose tokens are leaves of a graph.
struct Leaves<S> {
    state: S,
    tokens: Vec<Tensor<3>>,
}

impl<S: BlockState + Clone> Leaves<S> {
    fn of(state: S) -> Self {
        let mut leaves = Vec::new();
        let state = state.map_tokens(&mut |tokens| {
            // Autodiff computes wrong gradients of parameters on some devices if the input asks for none: Burn issue 5162.
            let leaf = leaf(tokens);
            leaves.push(leaf.clone());
            leaf
        });
        Self { state, tokens: leaves }
    }

    fn gradients(self, gradients: &Gradients) -> Vec<Option<Tensor<3>>> {
        self.tokens.into_iter().map(|leaf| leaf.grad(gradients)).collect()
    }
}
