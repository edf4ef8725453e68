//! From noise to latents.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use diffusion_core::noise::{BrownianTree, PerImage};
use diffusion_core::ops::release_memory;
use diffusion_core::weights::{ComponentPatches, PatchMode};
use diffusion_core::{Evaluation, Sampler, SamplerRun, SamplerStep, Sigmas};
use diffusion_schedulers::InitLatents;
use diffusion_schedulers::kind::SamplerSettings;

use super::{Pipeline, load};
use crate::components::TRANSFORMER;
use crate::encoded_prompt::EncodedPrompt;
use crate::error::PipelineError;
use crate::event::{Event, Observer};
use crate::guided_denoiser::GuidedDenoiser;
use crate::model::Model;
use crate::on_device::on_device;
use crate::pass::{EvaluatedNetwork, Step};
use crate::pipeline_options::PipelineOptions;
use crate::settings::Settings;
use crate::start::Start;
use diffusion_core::network::{Denoiser, is_finite};

impl Pipeline {
    /// From noise, or an image with noise, to latents. Each image of a batch is the one that is drawn alone from its prompt and
    /// seed, except for the order in which a wider product is summed: in f32 the two differ by a PSNR of more than 90 dB (124 dB
    /// and more on the fixtures), which moves single levels of an 8-bit image at most.
    ///
    /// From an image the first steps are left out, the more the smaller its strength, and the run starts from the image with as
    /// much noise as the level after them. Where a mask preserves the image, every step sees it with the noise of that step, and the last
    /// one ends in it; [`InitImage::finish`](crate::InitImage::finish) then makes the preserved pixels equal to the bit.
    ///
    /// # Shapes
    /// - result: `[seeds, channels, height, width]`
    /// # Errors
    /// [`PipelineError`] if the settings are impossible, there are neither one prompt nor as many as seeds, the network cannot be
    /// loaded, a step gives numbers that are not finite, or the observer cancels.
    pub fn denoise(
        &mut self,
        prompt: &EncodedPrompt,
        start: &Start,
        settings: &Settings,
        observer: Observer<'_>,
    ) -> Result<Tensor<4>, PipelineError> {
        self.check(settings)?;
        if settings.is_guided() && prompt.negative.is_none() {
            let expected = "at most 1, as when the prompt was encoded, which has no negative prompt";
            return Err(PipelineError::setting("guidance scale", expected, settings.guidance_scale));
        }
        let images = start.seeds.len();
        if images > Self::MAX_BATCH {
            self.check_batch(images)?;
        }
        let device = self.device().clone();
        let prompt = prompt.for_images(images).filter(|_| images > 0).ok_or_else(|| {
            let expected = match prompt.positive.batch_size() {
                1 => "at least 1".to_owned(),
                prompts => format!("{prompts}, one for each prompt"),
            };
            PipelineError::setting("number of seeds", expected, images)
        })?;
        let prompt = prompt.on_device(&device);
        let noise = match &start.noise {
            None => self.noise(&start.seeds, settings),
            Some(noise) if noise.dims()[0] == images => on_device(noise.clone(), &device),
            Some(noise) => {
                let expected = format!("{images}, one for each seed");
                return Err(PipelineError::setting("number of noises", expected, noise.dims()[0]));
            }
        };
        let sampler = self.sampler(&start.seeds, settings)?;
        let sigmas = self.sigmas(settings)?;
        let (sigmas, latents, inpainting) = match &start.init {
            Some(init) => {
                let sigmas = init.remaining(&sigmas)?;
                let inpaint_mask = init.inpaint_mask.clone().map(|mask| on_device(mask, &device));
                let init = InitLatents { latents: on_device(init.latents.clone(), &device), inpaint_mask, ..*init };
                let (latents, inpainting) = init.start(noise, self.info().noise_path, sigmas.first());
                (sigmas, latents, inpainting)
            }
            None => (sigmas, noise, None),
        };
        let num_steps = sigmas.num_steps();
        let levels = evaluated_levels(&*sampler, &sigmas, images, &device)?;
        let denoiser = match &mut self.denoiser {
            Some(denoiser) => denoiser,
            empty => empty.insert(loaded(&*self.model, &self.options, &self.patches, self.patch_mode, observer)?),
        };
        let denoiser = &**denoiser;
        let network = EvaluatedNetwork { denoiser, distilled_guidance: settings.distilled_guidance, levels: &levels };
        let mut network = GuidedDenoiser::new(network, &prompt, settings);
        let mut velocity = |Evaluation { latents, sigma, step }: Evaluation| {
            let step = Step { index: step, num_steps, sigma };
            let velocity = match &inpainting {
                Some(inpainting) => network
                    .velocity(step, inpainting.seen(latents.clone(), sigma))
                    .map(|drawn| inpainting.velocity(drawn, latents, sigma)),
                None => network.velocity(step, latents),
            };
            velocity.map_err(Into::into)
        };
        let mut on_step = |step: SamplerStep| observer(Event::Step(step));
        let run = SamplerRun { velocity: &mut velocity, latents, sigmas: &sigmas, on_step: &mut on_step };
        let result = sampler.sample(run);
        self.step_cache_report = network.report();
        // The next stage needs memory of its own.
        release_memory();
        let latents = result?;
        if !is_finite(latents.clone()) {
            return Err(PipelineError::NotFinite { place: "the latents".to_owned(), index: num_steps - 1, num_steps });
        }
        Ok(latents)
    }

    /// The denoising network, loaded if it is not there, with the patches of now.
    ///
    /// # Errors
    /// [`PipelineError`] if it cannot be loaded, or the observer cancels.
    pub fn load_denoiser(&mut self, observer: Observer<'_>) -> Result<&dyn Denoiser, PipelineError> {
        let denoiser = match &mut self.denoiser {
            Some(denoiser) => denoiser,
            empty => empty.insert(loaded(&*self.model, &self.options, &self.patches, self.patch_mode, observer)?),
        };
        Ok(&**denoiser)
    }

    /// The sampler of a run with these seeds.
    pub(super) fn sampler(&self, seeds: &[u64], settings: &Settings) -> Result<Box<dyn Sampler + Send + Sync>, PipelineError> {
        let table = self.schedule(settings)?.table;
        let noise = PerImage::new(seeds.iter().map(|&seed| BrownianTree::new(seed)));
        Ok(settings.sampler.build(&SamplerSettings::of(&table, noise))?)
    }
}

/// The denoising network of a model, patched.
fn loaded(
    model: &dyn Model,
    options: &PipelineOptions,
    patches: &ComponentPatches,
    mode: PatchMode,
    observer: Observer<'_>,
) -> Result<Box<dyn Denoiser>, PipelineError> {
    let denoiser = load(model, options, observer, |loading| model.load_denoiser(loading))?;
    Ok(denoiser.patched(&patches.get(&TRANSFORMER).cloned().unwrap_or_default(), mode)?)
}

/// The noise levels at which a sampler asks for velocities, in the order of their first use: it is run on latents of one pixel.
fn evaluated_levels(sampler: &dyn Sampler, sigmas: &Sigmas, images: usize, device: &Device) -> Result<Vec<f64>, PipelineError> {
    let mut levels = Vec::new();
    let mut velocity = |Evaluation { latents, sigma, .. }: Evaluation| {
        if !levels.contains(&sigma) {
            levels.push(sigma);
        }
        Ok(latents.zeros_like())
    };
    let latents = Tensor::zeros([images, 1, 1, 1], device);
    let on_step = &mut |_| ControlFlow::Continue(());
    sampler.sample(SamplerRun { velocity: &mut velocity, latents, sigmas, on_step })?;
    Ok(levels)
}
