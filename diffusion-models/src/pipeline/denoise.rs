//! From noise to latents.

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::tensor::Tensor;
use diffusion_core::{LoadedNetwork, Part, SampleError, Sampler, SamplerStep, Sigmas};
use diffusion_schedulers::path::NoisePath;

use super::Pipeline;
use crate::error::PipelineError;
use crate::family::{Family, Prompt, Step};
use crate::guided_network::GuidedNetwork;
use crate::settings::Settings;
use crate::starting_picture::{KeptArea, StartingPicture};

/// What a sampler gets.
struct Run<'a> {
    sampler: &'a dyn Sampler,
    sigmas: &'a Sigmas,
    start: Tensor<4>,
    kept: Option<KeptArea>,
}

impl<F: Family> Pipeline<F> {
    /// From noise to latents. `on_step` hears of every step and may cancel.
    ///
    /// Several pictures are drawn at once from a [`Prompt::batch`] and [`noises`](Self::noises), as many as prompts. Each
    /// is the picture that is drawn alone from its prompt and noise.
    ///
    /// # Errors
    /// [`PipelineError`] if the settings are impossible, the transformer cannot be loaded, a step gives numbers that are
    /// not finite, or `on_step` cancels.
    pub fn denoise(
        &mut self,
        prompt: &Prompt<F::Conditioning>,
        noise: Tensor<4>,
        settings: &Settings,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, PipelineError> {
        self.check(settings)?;
        let sampler = self.sampler_for(&noise, settings)?;
        let sigmas = self.sigmas(settings)?;
        let run = Run { sampler: &*sampler, sigmas: &sigmas, start: noise, kept: None };
        self.denoise_along(run, prompt, settings, on_step)
    }

    /// From a picture and noise to latents that resemble the picture: the more, the smaller its strength.
    ///
    /// The first steps are left out, and the run starts from the picture with as much noise as the level after them. Where
    /// the picture is to be kept, every step sees it with the noise of that step, and the last one ends in it;
    /// [`Mask::paste`](diffusion_core::mask::Mask::paste) then makes the kept pixels equal to the bit.
    ///
    /// # Errors
    /// As [`denoise`](Self::denoise), and if the strength leaves no step.
    pub fn denoise_from(
        &mut self,
        prompt: &Prompt<F::Conditioning>,
        picture: &StartingPicture,
        noise: Tensor<4>,
        settings: &Settings,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, PipelineError> {
        self.check(settings)?;
        let sampler = self.sampler_for(&noise, settings)?;
        let sigmas = picture.remaining(&self.sigmas(settings)?)?;
        let [batch, ..] = noise.dims();
        let picture = picture.repeated(batch);
        let start = NoisePath::Flow.mix(picture.latents.clone(), noise.clone(), sigmas.first());
        let run = Run { sampler: &*sampler, sigmas: &sigmas, start, kept: picture.kept_area(noise) };
        self.denoise_along(run, prompt, settings, on_step)
    }

    fn denoise_along(
        &mut self,
        run: Run<'_>,
        prompt: &Prompt<F::Conditioning>,
        settings: &Settings,
        on_step: &mut dyn FnMut(SamplerStep) -> ControlFlow<()>,
    ) -> Result<Tensor<4>, PipelineError> {
        let Run { sampler, sigmas, start, kept } = run;
        let num_steps = sigmas.num_steps();
        let transformer = match &mut self.transformer {
            Some(transformer) => &*transformer,
            empty => {
                let transformer = F::load_transformer(&self.files, self.precision, self.residency, &self.device)?;
                let changes = self.changes.get(&Part::Transformer).cloned().unwrap_or_default();
                empty.insert(transformer.change_weights(&changes, self.application)?)
            }
        };
        // What the network was last asked, to find the guilty block should its answer not be finite.
        let asked: RefCell<Option<(Step, Tensor<4>)>> = RefCell::new(None);
        let mut network = GuidedNetwork::<F>::new(transformer, prompt, settings);
        let mut ask = |x: Tensor<4>, sigma: f64| {
            let index = sigmas.as_slice().iter().rposition(|&level| level >= sigma).unwrap_or(0);
            let step = Step { index, num_steps, sigma };
            asked.replace(Some((step, x.clone())));
            network.velocity(step, x)
        };
        let mut velocity = |x: Tensor<4>, sigma: f64| match &kept {
            Some(kept) => kept.velocity(ask(kept.seen(x.clone(), sigma), sigma), x, sigma),
            None => ask(x, sigma),
        };
        let mut failure = None;
        let mut watched = |step: SamplerStep| {
            if step.latents.clone().sum().into_scalar::<f32>().is_finite() {
                return on_step(step);
            }
            let blame = |(step, x): (Step, Tensor<4>)| F::first_not_finite(transformer, prompt, settings, step, x);
            let place = asked.take().and_then(blame).unwrap_or_else(|| "the latents".to_owned());
            failure = Some(PipelineError::NotFinite { place, index: step.index, num_steps });
            ControlFlow::Break(())
        };
        let result = sampler.sample(&mut velocity, start, sigmas, &mut watched);
        self.step_cache_report = network.report();
        match (result, failure) {
            (Err(SampleError::Cancelled { .. }), Some(failure)) => Err(failure),
            (result, _) => Ok(result?),
        }
    }

    /// The sampler for as many pictures as `noise` is for.
    fn sampler_for(&self, noise: &Tensor<4>, settings: &Settings) -> Result<Box<dyn Sampler + Send + Sync>, PipelineError> {
        let ([batch, ..], seeds) = (noise.dims(), settings.sampler_seeds.len());
        if settings.sampler.is_stochastic() && seeds != batch {
            return Err(PipelineError::setting("number of sampler seeds", format!("{batch}, one for each picture"), seeds));
        }
        self.sampler(settings)
    }
}
