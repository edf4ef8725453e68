//! Evaluations of the network under one conditioning, in a whole run.

use burn::tensor::Tensor;
use diffusion_core::network::block_network::BlockHook;
use diffusion_core::network::{Conditioning, Denoiser, DenoiserInput, Modulations};
use diffusion_schedulers::step_cache::{RunCache, StepCache, StepCacheReport};

use crate::error::PipelineError;

/// Where in a run the network is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) index: usize,
    pub(crate) num_steps: usize,
    /// Noise level.
    pub(crate) sigma: f64,
}

/// What all passes of a run evaluate.
#[derive(Clone, Copy)]
pub(crate) struct EvaluatedNetwork<'a> {
    pub(crate) denoiser: &'a dyn Denoiser,
    pub(crate) distilled_guidance: Option<f64>,
    /// Noise levels at which it will be evaluated, in the order of their first use. Others take longer.
    pub(crate) levels: &'a [f64],
}

/// Evaluations of the network under one conditioning. What one knows helps the next: velocities are alike from step to step, and
/// modulations are computed for many steps at once.
pub(crate) struct Pass<'a> {
    network: EvaluatedNetwork<'a>,
    conditioning: Conditioning,
    cache: RunCache,
    /// At some of the levels.
    modulations: Option<Modulations>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(network: EvaluatedNetwork<'a>, conditioning: Conditioning, cache: StepCache) -> Self {
        Self { network, conditioning, cache: RunCache::begin(cache), modulations: None }
    }

    /// What the step cache did so far.
    pub(crate) fn report(&self) -> StepCacheReport {
        self.cache.report()
    }

    /// The velocity, through the cache.
    pub(crate) fn velocity(&mut self, step: Step, latents: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        // Taken out, so that the network can be run meanwhile.
        let mut cache = std::mem::replace(&mut self.cache, RunCache::begin(StepCache::Off));
        let place = [step.index, step.num_steps];
        let velocity = cache.velocity(place, latents, |latents, hook| self.evaluate(step, latents, &[], hook));
        self.cache = cache;
        velocity
    }

    /// The velocity, without the blocks in `skipped_blocks`, past the cache.
    pub(crate) fn evaluate(
        &mut self,
        step: Step,
        latents: Tensor<4>,
        skipped_blocks: &[usize],
        hook: &mut dyn BlockHook,
    ) -> Result<Tensor<4>, PipelineError> {
        let EvaluatedNetwork { denoiser, distilled_guidance, levels } = self.network;
        let conditioning = &self.conditioning;
        let is_known = self.modulations.as_ref().is_some_and(|known| known.sigmas().contains(&step.sigma));
        if let Some(first) = levels.iter().position(|&level| level == step.sigma).filter(|_| !is_known) {
            // The memory of those before is given back first.
            self.modulations = None;
            self.modulations = Some(denoiser.modulations(&levels[first..], conditioning, distilled_guidance)?);
        }
        let (sigmas, modulations) = (vec![step.sigma; latents.dims()[0]], self.modulations.as_ref());
        let input = DenoiserInput { latents, sigmas: &sigmas, conditioning, distilled_guidance, modulations };
        Ok(denoiser.velocity(&input, skipped_blocks, hook)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use burn::tensor::Device;
    use diffusion_core::checkpoint::CheckpointError;
    use diffusion_core::network::block_network::NoHook;
    use diffusion_core::weights::{PatchMode, WeightPatches};
    use diffusion_core::{Loading, Precision};

    use super::*;
    use crate::common::fixture;
    use crate::{ComponentPaths, open_model};

    /// A network that has memory for the modulations of two levels, and counts how often it computes some.
    #[derive(Debug)]
    struct ShortOfMemory {
        network: Box<dyn Denoiser>,
        computed: AtomicUsize,
    }

    impl Denoiser for ShortOfMemory {
        fn velocity(
            &self,
            input: &DenoiserInput<'_>,
            skipped_blocks: &[usize],
            hook: &mut dyn BlockHook,
        ) -> Result<Tensor<4>, CheckpointError> {
            self.network.velocity(input, skipped_blocks, hook)
        }

        fn modulations(
            &self,
            sigmas: &[f64],
            conditioning: &Conditioning,
            distilled_guidance: Option<f64>,
        ) -> Result<Modulations, CheckpointError> {
            self.computed.fetch_add(1, Ordering::Relaxed);
            self.network.modulations(&sigmas[..sigmas.len().min(2)], conditioning, distilled_guidance)
        }

        #[cfg(feature = "autodiff")]
        fn gradients(
            &self,
            input: &DenoiserInput<'_>,
            trained: &diffusion_core::network::TrainedParameters,
            options: diffusion_core::network::GradientOptions,
            of_velocity: &mut dyn FnMut(Tensor<4>) -> Tensor<4>,
        ) -> Result<diffusion_core::network::BlockGradients, CheckpointError> {
            self.network.gradients(input, trained, options, of_velocity)
        }

        fn patched(self: Box<Self>, _: &WeightPatches, _: PatchMode) -> Result<Box<dyn Denoiser>, CheckpointError> {
            Ok(self)
        }
    }

    #[test]
    fn levels_that_do_not_fit_into_memory_are_computed_some_at_a_time() {
        let (device, levels) = (Device::flex(), [1.0, 0.9, 0.7, 0.4, 0.2]);
        let model = open_model(&fixture("flux-schnell"), &ComponentPaths::new()).unwrap();
        let network = model.load_denoiser(&Loading::new(Precision::f32(), &device)).unwrap();
        let denoiser = ShortOfMemory { network, computed: AtomicUsize::new(0) };
        let conditioning = Conditioning { tokens: Tensor::ones([1, 4, 44], &device), pooled: Tensor::ones([1, 18], &device) };
        let latents = Tensor::<4>::ones([1, 16, 4, 4], &device);
        let network = EvaluatedNetwork { denoiser: &denoiser, distilled_guidance: None, levels: &levels };
        let mut pass = Pass::new(network, conditioning.clone(), StepCache::Off);
        // A level between two of them, and one that comes again, as samplers of higher order have it.
        let visited = [1.0, 0.95, 0.9, 0.9, 0.7, 0.4, 0.2];
        for (index, sigma) in visited.into_iter().enumerate() {
            let step = Step { index, num_steps: visited.len(), sigma };
            let found = pass.velocity(step, latents.clone()).unwrap();
            let (sigmas, conditioning, latents) = (&[sigma], &conditioning, latents.clone());
            let input = DenoiserInput { latents, sigmas, conditioning, distilled_guidance: None, modulations: None };
            let expected = denoiser.velocity(&input, &[], &mut NoHook).unwrap();
            assert!(found.into_data() == expected.into_data(), "{sigma}");
        }
        assert_eq!(denoiser.computed.load(Ordering::Relaxed), 3);
    }
}
