//! The network with guidance around it: what a sampler asks.

use burn::tensor::Tensor;
use diffusion_schedulers::guidance::{AdaptiveProjectedGuidance, AdaptiveProjectedRun, CfgZeroStar, classifier_free, rescale};

use crate::family::{Family, Prompt, Question, Step};
use crate::settings::{Guidance, GuidanceEvaluation, GuidanceMethod, Settings};
use crate::step_cache::{RunCache, StepCacheReport};

/// A network, a prompt, and the guidance of one run.
pub(crate) struct GuidedNetwork<'a, F: Family> {
    network: Network<'a, F>,
    prompt: &'a Prompt<F::Conditioning>,
    /// The negative prompts and the positive ones as one batch.
    both: Option<F::Conditioning>,
    /// The past of adaptive projected guidance, from its first use on.
    projected: Option<AdaptiveProjectedRun>,
}

impl<'a, F: Family> GuidedNetwork<'a, F> {
    pub(crate) fn new(transformer: &'a F::Transformer, prompt: &'a Prompt<F::Conditioning>, settings: &'a Settings) -> Self {
        let batched = settings.guidance.evaluation == GuidanceEvaluation::Batched && F::uses_negative_prompt(settings);
        let negative = prompt.negative.as_ref().filter(|_| batched);
        let both = negative.map(|negative| F::batched(&[negative, &prompt.positive]));
        let caches = [(); 3].map(|()| RunCache::begin(settings.step_cache));
        Self { network: Network { transformer, settings, caches }, prompt, both, projected: None }
    }

    /// What the step cache did so far.
    pub(crate) fn report(&self) -> StepCacheReport {
        self.network.caches.iter().map(RunCache::report).fold(StepCacheReport::default(), StepCacheReport::and)
    }

    /// The velocity with all guidance applied.
    ///
    /// # Shapes
    /// - latents: `[batch, channels, height, width]`, as many as encoded prompts; result: the same
    pub(crate) fn velocity(&mut self, step: Step, latents: Tensor<4>) -> Tensor<4> {
        let (prompt, settings) = (self.prompt, self.network.settings);
        let Guidance { method, interval, .. } = settings.guidance;
        let scale = F::classifier_free_scale(settings);
        let Some(negative) = prompt.negative.as_ref().filter(|_| F::uses_negative_prompt(settings)) else {
            return self.network.ask(Asked::Positive, step, latents, &prompt.positive);
        };
        if let GuidanceMethod::ZeroStar { zero_steps } = method
            && (CfgZeroStar { scale, zero_steps }).is_zero_step(step.index)
        {
            return latents.zeros_like();
        }
        let (positive, guided) = if interval.is_none_or(|interval| interval.applies_to(step.sigma)) {
            let [negative, positive] = self.ask_both(step, latents.clone(), negative);
            let guided = match method {
                GuidanceMethod::ClassifierFree => classifier_free(positive.clone(), negative, scale),
                GuidanceMethod::ZeroStar { zero_steps } => CfgZeroStar { scale, zero_steps }.apply(positive.clone(), negative),
                GuidanceMethod::AdaptiveProjected { along, longest, momentum } => {
                    let guidance = AdaptiveProjectedGuidance { scale, along, longest, momentum };
                    let run = self.projected.get_or_insert_with(|| guidance.begin());
                    run.apply(latents.clone(), step.sigma, positive.clone(), negative)
                }
            };
            (positive, guided)
        } else {
            let positive = self.network.ask(Asked::Positive, step, latents.clone(), &prompt.positive);
            (positive.clone(), positive)
        };
        let guided = match &settings.skip_layers {
            Some(skip) if skip.applies_to(step.index, step.num_steps) => {
                let skipped = self.network.ask_without(&skip.layers, step.sigma, latents, &prompt.positive);
                skip.apply(guided, positive.clone(), skipped)
            }
            _ => guided,
        };
        match settings.guidance.rescale {
            0.0 => guided,
            share => rescale(guided, positive, share),
        }
    }

    /// The velocities under the negative and the positive prompts.
    fn ask_both(&mut self, step: Step, latents: Tensor<4>, negative: &F::Conditioning) -> [Tensor<4>; 2] {
        let Self { network, prompt, both, .. } = self;
        let Some(both) = both else {
            let negative = network.ask(Asked::Negative, step, latents.clone(), negative);
            return [negative, network.ask(Asked::Positive, step, latents, &prompt.positive)];
        };
        let [batch, ..] = latents.dims();
        let twice = Tensor::cat(vec![latents.clone(), latents], 0);
        let velocities = network.ask(Asked::Both, step, twice, both);
        [0, batch].map(|first| velocities.clone().narrow(0, first, batch))
    }
}

/// The network with a cache for each kind of question.
struct Network<'a, F: Family> {
    transformer: &'a F::Transformer,
    settings: &'a Settings,
    caches: [RunCache; 3],
}

/// What a network is asked for: answers to each are alike from step to step.
#[derive(Clone, Copy)]
enum Asked {
    Positive,
    Negative,
    Both,
}

impl<F: Family> Network<'_, F> {
    fn ask(&mut self, asked: Asked, step: Step, latents: Tensor<4>, conditioning: &F::Conditioning) -> Tensor<4> {
        let Self { transformer, settings, caches } = self;
        let answer = |latents, cache| {
            let question = Question { latents, sigma: step.sigma, conditioning, skipped_layers: &[], cache };
            F::velocity(transformer, settings, question)
        };
        match &mut caches[asked as usize] {
            RunCache::Off(report) => {
                report.evaluations += 1;
                answer(latents, None)
            }
            RunCache::FirstBlock(cache) => answer(latents, Some(cache)),
            RunCache::Easy(cache) => cache.velocity(step, latents, |latents| answer(latents, None)),
        }
    }

    /// The answer without some blocks, which no cache knows.
    fn ask_without(&self, skipped_layers: &[usize], sigma: f64, latents: Tensor<4>, conditioning: &F::Conditioning) -> Tensor<4> {
        let question = Question { latents, sigma, conditioning, skipped_layers, cache: None };
        F::velocity(self.transformer, self.settings, question)
    }
}
