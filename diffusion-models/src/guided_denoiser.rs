//! The network with guidance around it: the velocity field of a run.

use burn::tensor::Tensor;
use diffusion_schedulers::guidance::{AdaptiveProjectedGuidance, AdaptiveProjectedRun, CfgZeroStar, classifier_free, rescale};

use crate::block_network::{BlockHook, NoHook};
use crate::conditioning::Conditioning;
use crate::denoiser::Denoiser;
use crate::denoiser_input::DenoiserInput;
use crate::encoded_prompt::EncodedPrompt;
use crate::error::PipelineError;
use crate::guidance::{Guidance, GuidanceEvaluation, GuidanceMethod};
use crate::not_finite::{FirstNotFinite, is_finite};
use crate::settings::Settings;
use crate::step::Step;
use crate::step_cache::{RunCache, StepCacheReport};

/// A network, an encoded prompt, and the guidance of one run.
pub(crate) struct GuidedDenoiser<'a> {
    passes: Passes<'a>,
    prompt: &'a EncodedPrompt,
    /// The negative prompts and the positive ones as one batch.
    both: Option<Conditioning>,
    /// The past of adaptive projected guidance, from its first use on.
    projected: Option<AdaptiveProjectedRun>,
}

impl<'a> GuidedDenoiser<'a> {
    pub(crate) fn new(denoiser: &'a dyn Denoiser, prompt: &'a EncodedPrompt, settings: &'a Settings) -> Self {
        let batched = settings.guidance.evaluation == GuidanceEvaluation::Batched && settings.is_guided();
        let negative = prompt.negative.as_ref().filter(|_| batched);
        let both = negative.map(|negative| Conditioning::batch(&[negative, &prompt.positive]));
        let caches = [(); 3].map(|()| RunCache::begin(settings.step_cache));
        Self { passes: Passes { denoiser, settings, caches }, prompt, both, projected: None }
    }

    /// What the step cache did so far.
    pub(crate) fn report(&self) -> StepCacheReport {
        self.passes.caches.iter().map(RunCache::report).fold(StepCacheReport::default(), StepCacheReport::and)
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
        // Watching every block costs a read-back each, so the blame is found by a second pass.
        let mut search = FirstNotFinite::default();
        for conditioning in [Some(&self.prompt.positive), self.prompt.negative.as_ref()].into_iter().flatten() {
            self.passes.run(step, latents.clone(), conditioning, &[], &mut search)?;
        }
        let place = search.place.unwrap_or_else(|| "the velocity".to_owned());
        Err(PipelineError::NotFinite { place, index: step.index, num_steps: step.num_steps })
    }

    fn guided(&mut self, step: Step, latents: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let (prompt, settings) = (self.prompt, self.passes.settings);
        let (Guidance { method, interval, .. }, scale) = (&settings.guidance, settings.guidance_scale);
        let Some(negative) = prompt.negative.as_ref().filter(|_| settings.is_guided()) else {
            return self.passes.velocity(Pass::Conditional, step, latents, &prompt.positive);
        };
        if let GuidanceMethod::ZeroStar { zero_steps } = *method
            && (CfgZeroStar { scale, zero_steps }).is_zero_step(step.index)
        {
            return Ok(latents.zeros_like());
        }
        let (conditional, guided) = if interval.is_none_or(|interval| interval.applies_to(step.sigma)) {
            let [unconditional, conditional] = self.both_velocities(step, latents.clone(), negative)?;
            let guided = match *method {
                GuidanceMethod::ClassifierFree => classifier_free(conditional.clone(), unconditional, scale),
                GuidanceMethod::ZeroStar { zero_steps } => {
                    CfgZeroStar { scale, zero_steps }.apply(conditional.clone(), unconditional)
                }
                GuidanceMethod::AdaptiveProjected { eta, norm_threshold, momentum } => {
                    let guidance = AdaptiveProjectedGuidance { scale, eta, norm_threshold, momentum };
                    let run = self.projected.get_or_insert_with(|| guidance.begin());
                    run.apply(latents.clone(), step.sigma, conditional.clone(), unconditional)
                }
            };
            (conditional, guided)
        } else {
            let conditional = self.passes.velocity(Pass::Conditional, step, latents.clone(), &prompt.positive)?;
            (conditional.clone(), conditional)
        };
        let guided = match &settings.skip_layers {
            Some(skip) if skip.applies_to(step.index, step.num_steps) => {
                let skipped = self.passes.run(step, latents, &prompt.positive, &skip.layers, &mut NoHook)?;
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
        let Self { passes, prompt, both, .. } = self;
        let Some(both) = both else {
            let unconditional = passes.velocity(Pass::Unconditional, step, latents.clone(), negative)?;
            return Ok([unconditional, passes.velocity(Pass::Conditional, step, latents, &prompt.positive)?]);
        };
        let [batch, ..] = latents.dims();
        let twice = Tensor::cat(vec![latents.clone(), latents], 0);
        let velocities = passes.velocity(Pass::Both, step, twice, both)?;
        Ok([0, batch].map(|first| velocities.clone().narrow(0, first, batch)))
    }
}

/// The passes of a network, with a cache for each kind.
struct Passes<'a> {
    denoiser: &'a dyn Denoiser,
    settings: &'a Settings,
    caches: [RunCache; 3],
}

/// A kind of pass: velocities of one kind are alike from step to step.
#[derive(Clone, Copy)]
enum Pass {
    Conditional,
    Unconditional,
    /// Unconditional and conditional as one batch.
    Both,
}

impl Passes<'_> {
    fn velocity(
        &mut self,
        pass: Pass,
        step: Step,
        latents: Tensor<4>,
        conditioning: &Conditioning,
    ) -> Result<Tensor<4>, PipelineError> {
        // Taken out for the pass, so that the network can be run meanwhile.
        let mut cache = std::mem::take(&mut self.caches[pass as usize]);
        let velocity = match &mut cache {
            RunCache::Off(report) => {
                report.evaluations += 1;
                self.run(step, latents, conditioning, &[], &mut NoHook)
            }
            RunCache::FirstBlock(cache) => self.run(step, latents, conditioning, &[], cache),
            RunCache::Easy(cache) => {
                cache.velocity(step, latents, |latents| self.run(step, latents, conditioning, &[], &mut NoHook))
            }
        };
        self.caches[pass as usize] = cache;
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
