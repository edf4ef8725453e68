//! The blocks of a network as one graph of kernels, which the device runs again in one go.
//!
//! This is the only place that calls Burn's `unsafe` replay. A graph knows buffers, not tensors: every replay reads and writes the
//! buffers that the kernels had when they were captured. What its contract asks for is kept here:
//!
//! - **Liveness.** The graph owns a clone of the network, whose weights it reads, and shares its inputs with nobody but
//!   [`CapturedBlocks`]. It owns its output. What blocks make between the two lies on pages that the device holds for the graph.
//! - **No concurrent use.** Weights are only read. Inputs are written, the graph is replayed, and its output is read in this order,
//!   behind `&mut`. The output is handed out, and overwritten by the next replay: it must be used up before.
//! - **One stream.** Devices have a stream for each thread, so another thread is refused.
//!
//! Burn does not promise that a write into a tensor that nobody else holds stays in its buffer. So a graph is tried before it is
//! used: it is captured with other numbers, and must then give what the blocks give.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use burn::tensor::{Device, Graph, Tensor, capture};

use super::block_network::{BlockNetwork, BlockState, run_blocks};
use crate::weights::LoadedWeights;

/// Largest relative difference between what a graph gives and what the blocks give. Both run the same kernels, which a backend may join in
/// another way; a graph that reads other numbers than it was given is wrong by about 1.
const MOST_DIFFERENCE: f32 = 0.02;

/// Why the steps of a network are not captured. They are computed as ever then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCaptured {
    /// The device or its backend has no graphs, or refused this one: packed weights get numbers from the host while they are widened.
    #[error("the device captures no graph of these blocks; it has none, or weights are packed")]
    Device,
    /// Weights are read from the file in every step.
    #[error("the network is streamed from its file")]
    Streamed,
    /// A graph has the strengths of the patches that it was captured with.
    #[error("the strength of a patch changes from step to step")]
    VariableStrength,
    /// The graph gave other numbers than the blocks.
    #[error("the captured graph gives other numbers than the blocks, {difference:.1e} off")]
    WrongNumbers {
        /// The largest difference, as a part of the largest number.
        difference: f32,
    },
}

/// What goes into the blocks of a network.
#[derive(Clone, Debug)]
pub(super) struct BlockInputs<S> {
    pub(super) state: S,
    /// Of every block, of every layer of it.
    pub(super) modulations: Vec<Vec<Tensor<2>>>,
}

impl<S: BlockState + Clone> BlockInputs<S> {
    /// What the blocks of a network give, run one after the other.
    pub(super) fn after_blocks<N: BlockNetwork<State = S>>(&self, network: &N) -> S {
        run_blocks(network, self.state.clone(), &self.modulations)
    }

    /// The same with what `change` makes of the tokens and of the modulations.
    fn map(
        self,
        change_tokens: &mut dyn FnMut(Tensor<3>) -> Tensor<3>,
        change_modulation: &mut dyn FnMut(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        let of_block = |layers: Vec<Tensor<2>>| layers.into_iter().map(&mut *change_modulation).collect();
        Self { state: self.state.map_tokens(change_tokens), modulations: self.modulations.into_iter().map(of_block).collect() }
    }

    /// Other numbers of the same shapes, in buffers of their own.
    fn negated(&self) -> Self {
        self.clone().map(&mut |tokens| -tokens, &mut |modulation| -modulation)
    }

    /// Write the numbers of `new` into the buffers of these.
    fn written(self, new: &Self) -> Self {
        let mut tokens = Vec::new();
        let _ = new.state.clone().map_tokens(&mut |new| {
            tokens.push(new.clone());
            new
        });
        let mut tokens = tokens.into_iter();
        let mut modulations = new.modulations.iter().flatten();
        self.map(
            &mut |held| match tokens.next() {
                Some(new) => write(held, new),
                None => held,
            },
            &mut |held| match modulations.next() {
                Some(new) => write(held, new.clone()),
                None => held,
            },
        )
    }
}

/// `new` in the buffer of `held`, whose only holder the caller gives up.
fn write<const D: usize>(held: Tensor<D>, new: Tensor<D>) -> Tensor<D> {
    let everything = held.dims().map(|len| 0..len);
    held.slice_assign(everything, new)
}

/// Inputs that graph and owner share. `None` while they are written.
type SharedInputs<S> = Arc<Mutex<Option<BlockInputs<S>>>>;

/// The blocks of a network, captured for inputs of one shape.
pub(super) struct CapturedBlocks<S> {
    inputs: SharedInputs<S>,
    graph: Graph<S, Box<dyn FnMut() -> S + Send>>,
    thread: ThreadId,
}

impl<S: BlockState + Clone + Send + 'static> CapturedBlocks<S> {
    /// Capture the blocks of `network` on `device`, for inputs of the shapes of `inputs`. The blocks are run some times.
    ///
    /// # Errors
    /// [`NotCaptured`].
    pub(super) fn capture<N: BlockNetwork<State = S> + 'static>(
        network: N,
        inputs: &BlockInputs<S>,
        device: &Device,
    ) -> Result<Self, NotCaptured> {
        let expected = inputs.after_blocks(&network).image_tokens();
        let shared: SharedInputs<S> = Arc::new(Mutex::new(Some(inputs.negated())));
        let run: Box<dyn FnMut() -> S + Send> = {
            let shared = Arc::clone(&shared);
            Box::new(move || {
                let held = shared.lock().unwrap_or_else(PoisonError::into_inner);
                held.as_ref().expect("inputs that are not being written").after_blocks(&network)
            })
        };
        let graph = capture(device, run);
        if !graph.is_hardware() {
            return Err(NotCaptured::Device);
        }
        let mut captured = Self { inputs: shared, graph, thread: thread::current().id() };
        // A replay before the one that is looked at: buffers must be the same after it, too.
        captured.replay(&inputs.negated());
        let difference = relative_difference(captured.replay(inputs).image_tokens(), expected);
        if difference <= MOST_DIFFERENCE { Ok(captured) } else { Err(NotCaptured::WrongNumbers { difference }) }
    }

    /// Whether this thread may replay it.
    pub(super) fn is_of_this_thread(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// What the blocks give. It must be used up before the next replay overwrites it.
    ///
    /// # Panics
    /// On another thread than the one that captured, or with inputs of other shapes.
    pub(super) fn replay(&mut self, inputs: &BlockInputs<S>) -> S {
        assert!(self.is_of_this_thread(), "a graph is replayed by the thread that captured it");
        {
            let mut shared = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
            *shared = shared.take().map(|held| held.written(inputs));
        }
        // SAFETY: the graph owns all that it reads and writes, and shares its inputs with `self` alone, which does not write them
        // before the replay is in the queue of this thread's stream. See the head of this file.
        unsafe { self.graph.replay() }.clone()
    }
}

/// Why the blocks of a network with these weights cannot be repeated, if they do something else in the next step.
pub(super) fn reason_against(weights: &LoadedWeights) -> Option<NotCaptured> {
    if weights.is_streamed() {
        return Some(NotCaptured::Streamed);
    }
    weights.patches().is_variable().then_some(NotCaptured::VariableStrength)
}

/// The largest difference, as a part of the largest number.
fn relative_difference(found: Tensor<3>, expected: Tensor<3>) -> f32 {
    let largest = |tokens: Tensor<3>| tokens.abs().max().into_scalar::<f32>();
    largest(found - expected.clone()) / largest(expected)
}

impl<S> Debug for CapturedBlocks<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturedBlocks").field("thread", &self.thread).finish_non_exhaustive()
    }
}
