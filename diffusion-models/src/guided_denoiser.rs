//! The network with guidance around it: the velocity field of a run.

use burn::tensor::Tensor;
use diffusion_core::network::block_network::{BlockHook, NoHook};
use diffusion_core::network::{Conditioning, Denoiser, DenoiserInput, FirstNotFinite, is_finite};
use diffusion_schedulers::guidance::{GuidanceEvaluation, GuidanceRun, rescale};
use diffusion_schedulers::step_cache::{RunCache, StepCache, StepCacheReport};

use crate::encoded_prompt::EncodedPrompt;
use crate::error::PipelineError;
use crate::settings::Settings;

/// Where in a run the network is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) index: usize,
    pub(crate) num_steps: usize,
    /// Noise level.
    pub(crate) sigma: f64,
}

/// A network, an encoded prompt, and the guidance of one run.
pub(crate) struct GuidedDenoiser<'a> {
    denoiser: &'a dyn Denoiser,
    settings: &'a Settings,
    prompt: &'a EncodedPrompt,
    /// The negative prompts and the positive ones as one batch.
    both: Option<Conditioning>,
    guidance: GuidanceRun,
    /// One for each kind of pass: conditional, unconditional, and both as one batch. Velocities of one kind are alike from step
    /// to step.
    caches: [RunCache; 3],
}

/// The kinds of passes.
const CONDITIONAL: usize = 0;
const UNCONDITIONAL: usize = 1;
const BOTH: usize = 2;

impl<'a> GuidedDenoiser<'a> {
    pub(crate) fn new(denoiser: &'a dyn Denoiser, prompt: &'a EncodedPrompt, settings: &'a Settings) -> Self {
        let batched = settings.guidance.evaluation == GuidanceEvaluation::Batched && settings.is_guided();
        let negative = prompt.negative.as_ref().filter(|_| batched);
        let both = negative.map(|negative| Conditioning::batch(&[negative, &prompt.positive]));
        let guidance = settings.guidance.begin(settings.guidance_scale);
        let caches = [(); 3].map(|()| RunCache::begin(settings.step_cache));
        Self { denoiser, settings, prompt, both, guidance, caches }
    }

    /// What the step cache did so far.
    pub(crate) fn report(&self) -> StepCacheReport {
        self.caches.iter().map(RunCache::report).fold(StepCacheReport::default(), StepCacheReport::and)
    }

    /// The velocity with all guidance applied.
    ///
    /// # Shapes
    /// - latents: `[batch, channels, height, width]`, as many as encoded prompts; result: the same
    /// # Errors
    /// [`PipelineError::NotFinite`] naming the block that gave the first infinite or undefined number.
    pub(crate) fn velocity(&mut self, step: Step, latents: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let velocity = self.guided(step, latents.clone())?;
        if is_finite(velocity.clone()) {
            return Ok(velocity);
        }
        // Hearing of every block costs a read-back each, so the blame is found by a second pass.
        let mut search = FirstNotFinite::default();
        for conditioning in [Some(&self.prompt.positive), self.prompt.negative.as_ref()].into_iter().flatten() {
            self.run(step, latents.clone(), conditioning, &[], &mut search)?;
        }
        let place = search.place.unwrap_or_else(|| "the velocity".to_owned());
        Err(PipelineError::NotFinite { place, index: step.index, num_steps: step.num_steps })
    }

    fn guided(&mut self, step: Step, latents: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let (prompt, settings) = (self.prompt, self.settings);
        let Some(negative) = prompt.negative.as_ref().filter(|_| settings.is_guided()) else {
            return self.pass(CONDITIONAL, step, latents, &prompt.positive);
        };
        if self.guidance.is_zero_step(step.index) {
            return Ok(latents.zeros_like());
        }
        let (conditional, guided) = if self.guidance.applies_to(step.sigma) {
            let [unconditional, conditional] = self.both_velocities(step, latents.clone(), negative)?;
            let guided = self.guidance.combine(latents.clone(), step.sigma, conditional.clone(), unconditional);
            (conditional, guided)
        } else {
            let conditional = self.pass(CONDITIONAL, step, latents.clone(), &prompt.positive)?;
            (conditional.clone(), conditional)
        };
        let guided = match &settings.skip_layers {
            Some(skip) if skip.applies_to(step.index, step.num_steps) => {
                let skipped = self.run(step, latents, &prompt.positive, &skip.layers, &mut NoHook)?;
                skip.apply(guided, conditional.clone(), skipped)
            }
            _ => guided,
        };
        Ok(match settings.guidance.rescale {
            0.0 => guided,
            share => rescale(guided, conditional, share),
        })
    }

    /// The unconditional and the conditional velocity.
    fn both_velocities(
        &mut self,
        step: Step,
        latents: Tensor<4>,
        negative: &Conditioning,
    ) -> Result<[Tensor<4>; 2], PipelineError> {
        let Some(both) = self.both.clone() else {
            let unconditional = self.pass(UNCONDITIONAL, step, latents.clone(), negative)?;
            return Ok([unconditional, self.pass(CONDITIONAL, step, latents, &self.prompt.positive)?]);
        };
        let [batch, ..] = latents.dims();
        let twice = Tensor::cat(vec![latents.clone(), latents], 0);
        let velocities = self.pass(BOTH, step, twice, &both)?;
        Ok([0, batch].map(|first| velocities.clone().narrow(0, first, batch)))
    }

    /// A pass of this kind, through its cache.
    fn pass(
        &mut self,
        kind: usize,
        step: Step,
        latents: Tensor<4>,
        conditioning: &Conditioning,
    ) -> Result<Tensor<4>, PipelineError> {
        // Taken out for the pass, so that the network can be run meanwhile.
        let mut cache = std::mem::replace(&mut self.caches[kind], RunCache::begin(StepCache::Off));
        let place = [step.index, step.num_steps];
        let velocity = cache.velocity(place, latents, |latents, hook| self.run(step, latents, conditioning, &[], hook));
        self.caches[kind] = cache;
        velocity
    }

    fn run(
        &self,
        step: Step,
        latents: Tensor<4>,
        conditioning: &Conditioning,
        skipped_blocks: &[usize],
        hook: &mut dyn BlockHook,
    ) -> Result<Tensor<4>, PipelineError> {
        let sigmas = vec![step.sigma; latents.dims()[0]];
        let distilled_guidance = self.settings.distilled_guidance;
        let input = DenoiserInput { latents, sigmas: &sigmas, conditioning, distilled_guidance };
        Ok(self.denoiser.velocity(&input, skipped_blocks, hook)?)
    }
}
