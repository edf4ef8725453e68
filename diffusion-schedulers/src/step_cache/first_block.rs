//! The first-block cache.

use burn::tensor::Tensor;

use super::report::{StepCacheReport, magnitude};
use diffusion_core::network::DenoiserInput;
use diffusion_core::network::block_network::{BlockFlow, BlockHook, BlockPlace, BlockState};

/// What the blocks of a transformer add to the image tokens, kept for steps whose first block adds nearly the same.
///
/// Reference: diffusers `hooks/first_block_cache.py` at 0361f0a, after `ParaAttention`.
#[derive(Clone, Debug)]
pub struct FirstBlockCache {
    threshold: f64,
    known: Option<Known>,
    computing: Computing,
    report: StepCacheReport,
}

/// Of the last step that was computed.
#[derive(Clone, Debug)]
struct Known {
    /// What the first block added.
    first: Tensor<3>,
    /// What the others added.
    rest: Tensor<3>,
}

/// Of the step that is being computed.
#[derive(Clone, Debug, Default)]
struct Computing {
    /// The image tokens before the first block, until it has run.
    before: Option<Tensor<3>>,
    /// What the first block added.
    first: Option<Tensor<3>>,
    /// The image tokens after the first block.
    after_first: Option<Tensor<3>>,
}

impl FirstBlockCache {
    /// An empty cache that lets a relative change below `threshold` pass.
    pub fn new(threshold: f64) -> Self {
        Self { threshold, known: None, computing: Computing::default(), report: StepCacheReport::default() }
    }

    /// What it did so far.
    pub fn report(&self) -> StepCacheReport {
        self.report
    }

    /// What the other blocks add, if the first one adds nearly what it did when they were last computed.
    fn known_rest(&mut self, first: &Tensor<3>) -> Option<Tensor<3>> {
        let known = self.known.as_ref().filter(|known| known.first.dims() == first.dims())?;
        let change = magnitude(first.clone() - known.first.clone()) / magnitude(known.first.clone());
        if change >= self.threshold {
            return None;
        }
        self.report.reuse(change);
        Some(known.rest.clone())
    }
}

impl BlockHook for FirstBlockCache {
    fn before(&mut self, _: &DenoiserInput<'_>, state: &dyn BlockState) {
        self.report.evaluations += 1;
        self.computing = Computing { before: Some(state.image_tokens()), ..Computing::default() };
    }

    fn after(&mut self, block: &BlockPlace, state: &mut dyn BlockState) -> BlockFlow {
        if let Some(before) = self.computing.before.take() {
            let tokens = state.image_tokens();
            let first = tokens.clone() - before;
            if let Some(rest) = self.known_rest(&first) {
                state.set_image_tokens(tokens + rest);
                return BlockFlow::SkipRest;
            }
            (self.computing.first, self.computing.after_first) = (Some(first), Some(tokens));
        }
        if block.index + 1 == block.num_blocks {
            let Computing { first, after_first, .. } = std::mem::take(&mut self.computing);
            let rest = after_first.map(|after_first| state.image_tokens() - after_first);
            self.known = first.zip(rest).map(|(first, rest)| Known { first, rest });
        }
        BlockFlow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use diffusion_core::network::Conditioning;

    fn tokens(value: f32) -> Tensor<3> {
        Tensor::from_floats([[[value, 2.0 * value]]], &Device::flex())
    }

    /// Image tokens alone.
    struct State(Tensor<3>);

    impl BlockState for State {
        fn image_tokens(&self) -> Tensor<3> {
            self.0.clone()
        }
        fn set_image_tokens(&mut self, tokens: Tensor<3>) {
            self.0 = tokens;
        }
        fn map_tokens(self, change: &mut dyn FnMut(Tensor<3>) -> Tensor<3>) -> Self {
            Self(change(self.0))
        }
        fn streams(&self) -> Vec<(&'static str, Tensor<3>)> {
            vec![("image stream", self.image_tokens())]
        }
    }

    /// A step of two blocks that add these numbers to zero; what it ends in, and whether the second block was run.
    fn step(cache: &mut FirstBlockCache, [first, second]: [f32; 2]) -> (Tensor<3>, bool) {
        let conditioning = Conditioning { tokens: tokens(0.0), pooled: Tensor::zeros([1, 1], &Device::flex()) };
        let latents = Tensor::zeros([1, 1, 1, 1], &Device::flex());
        let input =
            DenoiserInput { latents, sigmas: &[1.0], conditioning: &conditioning, distilled_guidance: None, modulations: None };
        let place = |index| BlockPlace { index, num_blocks: 2, label: String::new() };
        let mut state = State(tokens(0.0));
        cache.before(&input, &state);
        state.0 = tokens(first);
        if cache.after(&place(0), &mut state) == BlockFlow::SkipRest {
            return (state.0, false);
        }
        state.0 = tokens(first + second);
        cache.after(&place(1), &mut state);
        (state.0, true)
    }

    #[test]
    fn the_rest_is_known_while_the_first_block_adds_nearly_the_same() {
        let mut cache = FirstBlockCache::new(0.1);
        assert!(step(&mut cache, [1.0, 3.0]).1);
        let (found, computed) = step(&mut cache, [1.05, 99.0]);
        assert!(!computed);
        assert_eq!(found.into_data(), (tokens(1.05) + tokens(3.0)).into_data());
        // The change counts from the step that was computed, not from the last one.
        assert!(step(&mut cache, [1.12, 3.0]).1);
        let report = cache.report();
        assert_eq!((report.evaluations, report.reused), (3, 1));
        assert!((report.largest_change - 0.05).abs() < 1e-6);
    }
}
