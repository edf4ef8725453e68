//! The network with guidance around it: the velocity field of a run.

use burn::tensor::Tensor;
use diffusion_core::network::block_network::NoHook;
use diffusion_core::network::{Conditioning, FirstNotFinite, is_finite};
use diffusion_schedulers::guidance::{GuidanceEvaluation, GuidanceRun, rescale};
use diffusion_schedulers::step_cache::StepCacheReport;

use crate::encoded_prompt::EncodedPrompt;
use crate::error::PipelineError;
use crate::pass::{EvaluatedNetwork, Pass, Step};
use crate::settings::Settings;

/// A network, an encoded prompt, and the guidance of one run.
pub(crate) struct GuidedDenoiser<'a> {
    settings: &'a Settings,
    guidance: GuidanceRun,
    conditional: Pass<'a>,
    /// `None` without guidance.
    unconditional: Option<Unconditional<'a>>,
}

/// How the unconditional velocity is computed.
enum Unconditional<'a> {
    /// For itself.
    Apart(Pass<'a>),
    /// Together with the conditional one: the negative prompts and the positive ones as one batch.
    Both(Pass<'a>),
}

impl<'a> GuidedDenoiser<'a> {
    pub(crate) fn new(network: EvaluatedNetwork<'a>, prompt: &EncodedPrompt, settings: &'a Settings) -> Self {
        let pass = |conditioning| Pass::new(network, conditioning, settings.step_cache);
        let negative = prompt.negative.as_ref().filter(|_| settings.is_guided());
        let unconditional = negative.map(|negative| {
            if settings.guidance.evaluation == GuidanceEvaluation::Batched {
                Unconditional::Both(pass(Conditioning::batch(&[negative, &prompt.positive])))
            } else {
                Unconditional::Apart(pass(negative.clone()))
            }
        });
        let guidance = settings.guidance.begin(settings.guidance_scale);
        Self { settings, guidance, conditional: pass(prompt.positive.clone()), unconditional }
    }

    /// What the step cache did so far.
    pub(crate) fn report(&self) -> StepCacheReport {
        let unconditional = self.unconditional.as_ref().map(|(Unconditional::Apart(pass) | Unconditional::Both(pass))| pass);
        unconditional.map_or_else(StepCacheReport::default, Pass::report).and(self.conditional.report())
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
        self.conditional.evaluate(step, latents.clone(), &[], &mut search)?;
        match &mut self.unconditional {
            Some(Unconditional::Apart(pass)) => pass.evaluate(step, latents, &[], &mut search).map(drop)?,
            Some(Unconditional::Both(pass)) => pass.evaluate(step, twice(latents), &[], &mut search).map(drop)?,
            None => {}
        }
        let place = search.place.unwrap_or_else(|| "the velocity".to_owned());
        Err(PipelineError::NotFinite { place, index: step.index, num_steps: step.num_steps })
    }

    fn guided(&mut self, step: Step, latents: Tensor<4>) -> Result<Tensor<4>, PipelineError> {
        let Self { settings, guidance, conditional: pass, unconditional } = self;
        let Some(unconditional) = unconditional else { return pass.velocity(step, latents) };
        if guidance.is_zero_step(step.index) {
            return Ok(latents.zeros_like());
        }
        let (conditional, guided) = if guidance.applies_to(step.sigma) {
            let [unconditional, conditional] = unconditional.both_velocities(pass, step, latents.clone())?;
            let guided = guidance.combine(latents.clone(), step.sigma, conditional.clone(), unconditional);
            (conditional, guided)
        } else {
            let conditional = pass.velocity(step, latents.clone())?;
            (conditional.clone(), conditional)
        };
        let guided = match &settings.skip_layers {
            Some(skip) if skip.applies_to(step.index, step.num_steps) => {
                let skipped = pass.evaluate(step, latents, &skip.layers, &mut NoHook)?;
                skip.apply(guided, conditional.clone(), skipped)
            }
            _ => guided,
        };
        Ok(match settings.guidance.rescale {
            0.0 => guided,
            share => rescale(guided, conditional, share),
        })
    }
}

impl Unconditional<'_> {
    /// The unconditional and the conditional velocity.
    fn both_velocities(
        &mut self,
        conditional: &mut Pass<'_>,
        step: Step,
        latents: Tensor<4>,
    ) -> Result<[Tensor<4>; 2], PipelineError> {
        match self {
            Self::Apart(pass) => Ok([pass.velocity(step, latents.clone())?, conditional.velocity(step, latents)?]),
            Self::Both(pass) => {
                let [batch, ..] = latents.dims();
                let velocities = pass.velocity(step, twice(latents))?;
                Ok([0, batch].map(|first| velocities.clone().narrow(0, first, batch)))
            }
        }
    }
}

/// A batch with every image twice, all of them before any comes again.
fn twice(latents: Tensor<4>) -> Tensor<4> {
    Tensor::cat(vec![latents.clone(), latents], 0)
}
