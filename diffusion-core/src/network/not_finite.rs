//! The search for the block that spoils an image.

use burn::tensor::{DType, Tensor};

use super::block_network::{BlockFlow, BlockHook, BlockPlace, BlockState};
use super::denoiser_input::DenoiserInput;

/// A hook that remembers the first place where a number is infinite or undefined.
#[derive(Debug, Default)]
pub struct FirstNotFinite {
    /// The place, as errors name it: `the image stream after block 2`.
    pub place: Option<String>,
}

impl FirstNotFinite {
    fn see<const D: usize>(&mut self, result: Tensor<D>, place: impl FnOnce() -> String) {
        if self.place.is_none() && !is_finite(result.cast(DType::F32).abs()) {
            self.place = Some(place());
        }
    }
}

/// Whether the sum of all numbers is a number, which costs one value to be read back.
pub fn is_finite<const D: usize>(x: Tensor<D>) -> bool {
    x.sum().into_scalar::<f32>().is_finite()
}

impl BlockHook for FirstNotFinite {
    fn before(&mut self, input: &DenoiserInput<'_>, _: &dyn BlockState) {
        self.see(input.conditioning.tokens.clone(), || "the encoded prompt".to_owned());
        self.see(input.latents.clone(), || "the latents before the step".to_owned());
    }

    fn after(&mut self, block: &BlockPlace, state: &mut dyn BlockState) -> BlockFlow {
        for (stream, tokens) in state.streams() {
            self.see(tokens, || format!("the {stream} after {}", block.label));
        }
        if self.place.is_some() { BlockFlow::SkipRest } else { BlockFlow::Continue }
    }
}
