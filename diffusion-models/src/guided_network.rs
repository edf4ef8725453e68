//! The network with guidance around it: what a sampler asks.

use burn::tensor::Tensor;
use diffusion_schedulers::guidance::{
    AdaptiveProjectedGuidance, AdaptiveProjectedRun, CfgZeroStar, SkipLayerGuidance, classifier_free, rescale,
};

use crate::family::{Family, Prompt, Question, Step};
use crate::settings::{Guidance, GuidanceEvaluation, GuidanceMethod, Settings};

/// A network, a prompt, and the guidance of one run.
pub(crate) struct GuidedNetwork<'a, F: Family> {
    transformer: &'a F::Transformer,
    prompt: &'a Prompt<F::Conditioning>,
    settings: &'a Settings,
    /// The negative prompts and the positive ones as one batch.
    both: Option<F::Conditioning>,
    /// The past of adaptive projected guidance, from its first use on.
    projected: Option<AdaptiveProjectedRun>,
}

impl<'a, F: Family> GuidedNetwork<'a, F> {
    pub(crate) fn new(
        transformer: &'a F::Transformer,
        prompt: &'a Prompt<F::Conditioning>,
        settings: &'a Settings,
    ) -> Self {
        let batched = settings.guidance.evaluation == GuidanceEvaluation::Batched && F::uses_negative_prompt(settings);
        let negative = prompt.negative.as_ref().filter(|_| batched);
        let both = negative.map(|negative| F::batched(&[negative, &prompt.positive]));
        Self { transformer, prompt, settings, both, projected: None }
    }

    /// The velocity with all guidance applied.
    ///
    /// # Shapes
    /// - latents: `[batch, channels, height, width]`, as many as encoded prompts; result: the same
    pub(crate) fn velocity(&mut self, step: Step, latents: Tensor<4>) -> Tensor<4> {
        let Self { prompt, settings, .. } = *self;
        let Guidance { method, interval, .. } = settings.guidance;
        let scale = F::classifier_free_scale(settings);
        let Some(negative) = prompt.negative.as_ref().filter(|_| F::uses_negative_prompt(settings)) else {
            return self.ask(latents, step.sigma, &prompt.positive, &[]);
        };
        if let GuidanceMethod::ZeroStar { zero_steps } = method
            && (CfgZeroStar { scale, zero_steps }).is_zero_step(step.index)
        {
            return latents.zeros_like();
        }
        let (positive, guided) = if interval.is_none_or(|interval| interval.applies_to(step.sigma)) {
            let [negative, positive] = self.ask_both(latents.clone(), step.sigma, negative);
            let guided = match method {
                GuidanceMethod::ClassifierFree => classifier_free(positive.clone(), negative, scale),
                GuidanceMethod::ZeroStar { zero_steps } => {
                    CfgZeroStar { scale, zero_steps }.apply(positive.clone(), negative)
                }
                GuidanceMethod::AdaptiveProjected { along, longest, momentum } => {
                    let settings = AdaptiveProjectedGuidance { scale, along, longest, momentum };
                    let run = self.projected.get_or_insert_with(|| settings.begin());
                    run.apply(latents.clone(), step.sigma, positive.clone(), negative)
                }
            };
            (positive, guided)
        } else {
            let positive = self.ask(latents.clone(), step.sigma, &prompt.positive, &[]);
            (positive.clone(), positive)
        };
        let guided = match &settings.skip_layers {
            Some(skip) if skip.applies_to(step.index, step.num_steps) => {
                self.away_from_skipped(skip, guided, positive.clone(), latents, step.sigma)
            }
            _ => guided,
        };
        match settings.guidance.rescale {
            0.0 => guided,
            share => rescale(guided, positive, share),
        }
    }

    fn away_from_skipped(
        &self,
        skip: &SkipLayerGuidance,
        guided: Tensor<4>,
        positive: Tensor<4>,
        latents: Tensor<4>,
        sigma: f64,
    ) -> Tensor<4> {
        let skipped = self.ask(latents, sigma, &self.prompt.positive, &skip.layers);
        skip.apply(guided, positive, skipped)
    }

    /// The velocities under the negative and the positive prompts.
    fn ask_both(&self, latents: Tensor<4>, sigma: f64, negative: &F::Conditioning) -> [Tensor<4>; 2] {
        let Some(both) = &self.both else {
            return [negative, &self.prompt.positive].map(|prompt| self.ask(latents.clone(), sigma, prompt, &[]));
        };
        let [batch, ..] = latents.dims();
        let twice = Tensor::cat(vec![latents.clone(), latents], 0);
        let velocities = self.ask(twice, sigma, both, &[]);
        [0, batch].map(|first| velocities.clone().narrow(0, first, batch))
    }

    fn ask(&self, latents: Tensor<4>, sigma: f64, conditioning: &F::Conditioning, skipped_layers: &[usize]) -> Tensor<4> {
        F::velocity(self.transformer, self.settings, Question { latents, sigma, conditioning, skipped_layers })
    }
}
