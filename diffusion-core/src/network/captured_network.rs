//! A denoising network whose steps the device repeats as one graph of kernels, where it can.

use std::cell::RefCell;

use burn::tensor::Tensor;

#[cfg(feature = "autodiff")]
use super::block_gradients::{BlockGradients, GradientOptions, TrainedParameters};
use super::block_network::{self, BlockHook, BlockNetwork};
use super::captured_blocks::{BlockInputs, CapturedBlocks, NotCaptured, reason_against};
use super::conditioning::Conditioning;
use super::denoiser::Denoiser;
use super::denoiser_input::DenoiserInput;
use super::modulations::Modulations;
use crate::checkpoint::CheckpointError;
use crate::weights::{LoadedNetwork, LoadedWeights, Loading, PatchMode, WeightPatches};

/// A network behind a box, whose steps are captured if `loading` [says so](Loading::captures_steps).
pub fn boxed_denoiser<N: BlockNetwork + 'static>(network: N, loading: &Loading<'_>) -> Box<dyn Denoiser> {
    if loading.captures_steps { Box::new(CapturedNetwork::new(network)) } else { Box::new(network) }
}

/// A network whose blocks are captured at the first evaluation, for inputs of one shape.
#[derive(Debug)]
struct CapturedNetwork<N: BlockNetwork> {
    network: N,
    captured: RefCell<Captured<N::State>>,
}

#[derive(Debug)]
enum Captured<S> {
    NotYet,
    /// For inputs of this shape.
    For(InputShape, CapturedBlocks<S>),
    Refused(NotCaptured),
}

/// What the blocks' kernels depend on: the shapes of latents and text tokens.
type InputShape = ([usize; 4], [usize; 3]);

impl<N: BlockNetwork + 'static> CapturedNetwork<N> {
    fn new(network: N) -> Self {
        Self { network, captured: RefCell::new(Captured::NotYet) }
    }

    /// Whether blocks are run one by one in any case.
    fn is_refused(&self) -> bool {
        let captured = &mut *self.captured.borrow_mut();
        if let (Captured::NotYet, Some(why)) = (&*captured, self.network.weights().and_then(reason_against)) {
            *captured = Captured::Refused(why);
        }
        matches!(captured, Captured::Refused(_))
    }

    fn after_blocks(&self, shape: InputShape, inputs: BlockInputs<N::State>, input: &DenoiserInput<'_>) -> N::State {
        let captured = &mut *self.captured.borrow_mut();
        if matches!(captured, Captured::For(known, blocks) if *known != shape || !blocks.is_of_this_thread()) {
            // Its memory is given back before another one takes some.
            *captured = Captured::NotYet;
        }
        if let Captured::NotYet = captured {
            let device = input.latents.device();
            *captured = match CapturedBlocks::capture(self.network.clone(), &inputs, &device) {
                Ok(blocks) => Captured::For(shape, blocks),
                Err(refused) => Captured::Refused(refused),
            };
        }
        match captured {
            Captured::For(_, blocks) => blocks.replay(&inputs),
            _ => inputs.after_blocks(&self.network),
        }
    }
}

impl<N: BlockNetwork + 'static> Denoiser for CapturedNetwork<N> {
    fn velocity(
        &self,
        input: &DenoiserInput<'_>,
        skipped_blocks: &[usize],
        hook: &mut dyn BlockHook,
    ) -> Result<Tensor<4>, CheckpointError> {
        let network = &self.network;
        // A graph has no place between blocks where a hook could look on.
        if !hook.is_idle() || !skipped_blocks.is_empty() || self.is_refused() {
            return block_network::run(network, input, skipped_blocks, hook);
        }
        network.weights().map_or(Ok(()), LoadedWeights::check_unchanged)?;
        let conditioning = block_network::embedded(network, input);
        let modulations = block_network::all_modulations(network, input, &conditioning)?;
        let inputs = BlockInputs { state: network.begin(input), modulations };
        let shape = (input.latents.dims(), input.conditioning.tokens.dims());
        Ok(network.end(self.after_blocks(shape, inputs, input), conditioning))
    }

    fn modulations(
        &self,
        sigmas: &[f64],
        conditioning: &Conditioning,
        distilled_guidance: Option<f64>,
    ) -> Result<Modulations, CheckpointError> {
        self.network.modulations(sigmas, conditioning, distilled_guidance)
    }

    #[cfg(feature = "autodiff")]
    fn gradients(
        &self,
        input: &DenoiserInput<'_>,
        trained: &TrainedParameters,
        options: GradientOptions,
        of_velocity: &mut dyn FnMut(Tensor<4>) -> Tensor<4>,
    ) -> Result<BlockGradients, CheckpointError> {
        self.network.gradients(input, trained, options, of_velocity)
    }

    fn patched(self: Box<Self>, patches: &WeightPatches, mode: PatchMode) -> Result<Box<dyn Denoiser>, CheckpointError> {
        let Self { network, captured } = *self;
        // The graph holds the weights of before.
        drop(captured);
        Ok(Box::new(Self::new(LoadedNetwork::patched(network, patches, mode)?)))
    }

    fn why_not_captured(&self) -> Option<NotCaptured> {
        match &*self.captured.borrow() {
            Captured::Refused(why) => Some(why.clone()),
            Captured::NotYet | Captured::For(..) => None,
        }
    }
}
