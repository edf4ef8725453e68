//! From a prompt to an image.

mod check;
mod denoise;
mod encode;
mod fit;
mod keep;
mod place;
mod stored;

pub use keep::KeptPrompt;

use std::hash::{Hash, Hasher};
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::image::RgbImage;
use diffusion_core::noise::latent_noise;
use diffusion_core::ops::release_memory;
use diffusion_core::weights::{
    ComponentId, ComponentPatches, ComponentPlace, LoadProgress, PatchMode, PatchTarget, PatchWeights,
};
use diffusion_core::{Loading, ScheduleError, SigmaSchedule, Sigmas};
use diffusion_schedulers::schedules::{CustomSigmas, ShiftTerminal};

use crate::autoencoder_file::{ImageDecoder, ImageEncoder};
use crate::component_file::ComponentFile;
use crate::components::{Stage, TRANSFORMER, VAE};
use crate::error::PipelineError;
use crate::event::{Event, Observer};
use crate::families::open_model;
use crate::model::{Model, ModelInfo, ModelSchedule};
use crate::on_device::on_device;
use crate::pipeline_options::PipelineOptions;
use crate::plan::Plan;
use crate::prompt_cache::PromptCache;
use crate::prompt_encoder::PromptEncoder;
use crate::prompt_store::StoreInUse;
use crate::request::{InitImage, Request};
use crate::settings::{Settings, Tiling};
use crate::start::Start;
use diffusion_core::network::Denoiser;
use diffusion_schedulers::InitLatents;
use diffusion_schedulers::kind::Warning;
use diffusion_schedulers::step_cache::StepCacheReport;

/// From a prompt to an image, with a model of any family.
///
/// [`generate`](Self::generate) answers a [`Request`]. Its stages can be run apart: [`encode_prompt`](Self::encode_prompt),
/// [`denoise`](Self::denoise) and [`decode`](Self::decode) load their component when it is first needed, and every stage tells
/// an observer what it does, who may cancel.
///
/// ```no_run
/// use burn::tensor::Device;
/// use diffusion_models::{Pipeline, PipelineOptions, Request, ignore};
///
/// let mut pipeline = Pipeline::open("sd3.5-medium".as_ref(), &PipelineOptions::new(&Device::default()))?;
/// let settings = pipeline.default_settings();
/// let images = pipeline.generate(&Request { settings, ..Request::new("a fox in the snow") }, &mut ignore)?;
/// println!("{} x {} pixels", images[0].width, images[0].height);
/// # Ok::<(), diffusion_models::PipelineError>(())
/// ```
#[derive(Debug)]
pub struct Pipeline {
    model: Box<dyn Model>,
    options: PipelineOptions,
    prompt_encoder: Option<Box<dyn PromptEncoder>>,
    denoiser: Option<Box<dyn Denoiser>>,
    decoder: Option<ImageDecoder>,
    patches: ComponentPatches,
    patch_mode: PatchMode,
    prompt_cache: PromptCache,
    stored_prompts: Option<StoreInUse>,
    step_cache_report: StepCacheReport,
    tiles_at_once: usize,
}

impl Pipeline {
    /// Open a model of any family: a diffusers folder, or a single file with or without its text encoders.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong: all that can be known without reading weights.
    pub fn open(path: &Path, options: &PipelineOptions) -> Result<Self, PipelineError> {
        Ok(Self::new(open_model(path, &options.components)?, options))
    }

    /// A pipeline of an opened model.
    pub fn new(model: Box<dyn Model>, options: &PipelineOptions) -> Self {
        Self {
            model,
            options: options.clone(),
            prompt_encoder: None,
            denoiser: None,
            decoder: None,
            patches: ComponentPatches::new(),
            patch_mode: PatchMode::default(),
            prompt_cache: PromptCache::default(),
            stored_prompts: None,
            step_cache_report: StepCacheReport::default(),
            tiles_at_once: 1,
        }
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        &*self.model
    }

    /// What is known of the model.
    pub fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    /// The settings that the model's authors recommend.
    pub fn default_settings(&self) -> Settings {
        self.info().defaults.clone()
    }

    /// The denoising network, if it is loaded.
    pub fn denoiser(&self) -> Option<&dyn Denoiser> {
        self.denoiser.as_deref()
    }

    /// Whether the text encoders are loaded.
    pub fn has_prompt_encoder(&self) -> bool {
        self.prompt_encoder.is_some()
    }

    /// Evaluations of the network in the last run, and what the step cache did.
    pub fn step_cache_report(&self) -> StepCacheReport {
        self.step_cache_report
    }

    /// Whether the matrices of the denoising network are stored in 16 bits a number or fewer, so that products of bf16 lose little
    /// that the file has.
    pub fn is_stored_narrow(&self) -> bool {
        let components = self.model.components();
        let denoiser = components.iter().filter(|file| file.component().stage == Stage::Denoise);
        let mut matrices = denoiser.flat_map(|file| file.checkpoint().tensors()).filter(|(_, tensor)| tensor.shape().len() == 2);
        matrices.all(|(_, tensor)| {
            let block = tensor.format().block();
            8 * block.bytes <= 16 * block.elements
        })
    }

    /// The noise levels of a run.
    ///
    /// # Errors
    /// [`PipelineError`] if there is no such run, or the schedule does not suit the model.
    pub fn sigmas(&self, settings: &Settings) -> Result<Sigmas, PipelineError> {
        if let Some(sigmas) = &settings.sigmas {
            Self::require_steps(sigmas.num_steps())?;
            return Ok(sigmas.clone());
        }
        let schedule = self.schedule(settings)?;
        let sigmas = match settings.schedule {
            Some(kind) => kind.build(&schedule.table)?.sigmas(settings.num_steps).map_err(|error| match error {
                ScheduleError::NotFalling { .. } => {
                    let expected = format!("fewer: the schedule \"{kind}\" has not so many noise levels that differ");
                    PipelineError::setting("number of steps", expected, settings.num_steps)
                }
                other => other.into(),
            })?,
            None => schedule.released,
        };
        let Some(terminal) = settings.shift_terminal else { return Ok(sigmas) };
        let num_steps = sigmas.num_steps();
        Ok(ShiftTerminal { inner: CustomSigmas(sigmas), terminal }.sigmas(num_steps)?)
    }

    /// The model's noise levels for a run of a possible number of steps.
    fn schedule(&self, settings: &Settings) -> Result<ModelSchedule, PipelineError> {
        if settings.num_steps == 0 {
            return Err(ScheduleError::TooFew { found: 1 }.into());
        }
        Self::require_steps(settings.num_steps)?;
        self.model.schedule(settings).map_err(|error| match error {
            PipelineError::Schedule(ScheduleError::NotFalling { .. }) => {
                let expected = "fewer, or a shift closer to 1: the noise levels of so many no longer differ";
                PipelineError::setting("number of steps", expected, settings.num_steps)
            }
            other => other,
        })
    }

    /// Choices that work, but not well.
    ///
    /// # Errors
    /// [`PipelineError`] if there is no such run.
    pub fn warnings(&self, settings: &Settings) -> Result<Vec<Warning>, PipelineError> {
        let table = self.schedule(settings)?.table;
        let schedule = settings.schedule.filter(|_| settings.sigmas.is_none()).and_then(|kind| kind.warning(&table));
        let sampler = settings.sampler.warning(table.path(), &self.sigmas(settings)?, settings.guidance_scale);
        Ok(sampler.map(Warning::Sampler).into_iter().chain(schedule.map(Warning::Schedule)).collect())
    }

    /// How much memory a run of `batch` images at once will take.
    pub fn plan(&self, settings: &Settings, batch: usize) -> Plan {
        Plan::new(&self.model.components(), self.info(), settings, batch, &self.options)
    }

    /// Shape of the latents of one image.
    pub fn latent_shape(&self, settings: &Settings) -> [usize; 4] {
        let geometry = self.info().geometry;
        let [height, width] = [settings.height, settings.width].map(|side| side / geometry.downscale_factor);
        [1, geometry.latent_channels, height, width]
    }

    /// Standard normal noise of each of these seeds, as one batch: the same on every device and the same as torch's on a CPU.
    ///
    /// # Shapes
    /// - result: `[seeds, channels, height, width]`
    /// # Panics
    /// If there are no seeds.
    pub fn noise(&self, seeds: &[u64], settings: &Settings) -> Tensor<4> {
        let noise = |&seed: &u64| latent_noise(seed, self.latent_shape(settings), self.device());
        Tensor::cat(seeds.iter().map(noise).collect(), 0)
    }

    /// The latents of an image to start from, and its inpaint mask.
    ///
    /// # Errors
    /// As [`encode_image`](Self::encode_image); [`PipelineError::MaskSize`] if the mask has another size than the image.
    pub fn encode_init_image(&self, init: &InitImage, observer: Observer<'_>) -> Result<InitLatents, PipelineError> {
        let expected = (init.image.width, init.image.height);
        if let Some(mask) = init.mask.as_ref().filter(|mask| (mask.width, mask.height) != expected) {
            return Err(PipelineError::MaskSize { found: (mask.width, mask.height), expected });
        }
        if !(init.strength > 0.0 && init.strength <= 1.0) {
            return Err(PipelineError::setting("strength", "a number above 0, at most 1", init.strength));
        }
        let downscale_factor = self.info().geometry.downscale_factor;
        let inpaint_mask = init.mask.as_ref().map(|mask| mask.latent_pixels(downscale_factor, self.device()));
        Ok(InitLatents { latents: self.encode_image(&init.image, observer)?, strength: init.strength, inpaint_mask })
    }

    /// An image's latents, the mean of what the autoencoder's encoder gives.
    ///
    /// # Shapes
    /// - result: `[1, channels, height / downscale_factor, width / downscale_factor]`
    /// # Errors
    /// [`PipelineError`] if the model cannot draw images of this size, or the encoder cannot be loaded.
    pub fn encode_image(&self, image: &RgbImage, observer: Observer<'_>) -> Result<Tensor<4>, PipelineError> {
        self.check_size(image.width, image.height)?;
        let image = image.to_tensor(self.device_of(VAE));
        let latents =
            load(&*self.model, &self.options, observer, |loading| self.model.autoencoder().encode_image(image, loading))?;
        Ok(on_device(latents, self.device()))
    }

    /// Load the encoder of images, for many of them. It is the caller's, who drops it when all are encoded, and takes images on the
    /// [device of the autoencoder](Self::device_of).
    ///
    /// # Errors
    /// [`PipelineError`] if the autoencoder has none, or it cannot be loaded.
    pub fn load_image_encoder(&self, observer: Observer<'_>) -> Result<ImageEncoder, PipelineError> {
        load(&*self.model, &self.options, observer, |loading| self.model.autoencoder().load_encoder(loading))
    }

    /// Feed `state` with all that encoded images depend on besides the image and the tiling: the autoencoder's file and sizes, and
    /// the precision.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`] if the file was written to since it was opened.
    pub fn identify_image_encoder(&self, mut state: &mut dyn Hasher) -> Result<(), PipelineError> {
        let file = self.model.autoencoder();
        // It does not round the operands of products, whatever the transformer does.
        let precision = self.place_of(VAE).precision.with_exact_products();
        (file.configuration(), format!("{precision:?}")).hash(&mut state);
        Ok(file.checkpoint().identify(state)?)
    }

    /// From latents to images, one after the other: decoding takes more memory than drawing.
    ///
    /// # Errors
    /// [`PipelineError`] if the decoder cannot be loaded, or the observer cancels.
    pub fn decode(&mut self, latents: Tensor<4>, tiling: Tiling, observer: Observer<'_>) -> Result<Vec<RgbImage>, PipelineError> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            empty => {
                let load_decoder = |loading: &Loading<'_>| Ok(self.model.autoencoder().load_decoder(loading)?);
                empty.insert(load(&*self.model, &self.options, observer, load_decoder)?)
            }
        };
        let latents = on_device(latents, self.options.device_of(VAE));
        let [total, ..] = latents.dims();
        let mut images = Vec::with_capacity(total);
        for row in 0..total {
            let latents = latents.clone().narrow(0, row, 1);
            images.extend(RgbImage::from_tensor(decoder.decode_some_at_once(latents, tiling, self.tiles_at_once)));
            if observer(Event::Decoded { done: row + 1, total }).is_break() {
                return Err(PipelineError::Cancelled { during: "decoding" });
            }
        }
        release_memory();
        Ok(images)
    }

    /// Draw the images of a request, as many as it has seeds: all stages, the text encoders freed before the denoising network
    /// is loaded, unless they are [apart](Self::has_text_encoders_apart).
    ///
    /// # Errors
    /// As the stages.
    pub fn generate(&mut self, request: &Request, observer: Observer<'_>) -> Result<Vec<RgbImage>, PipelineError> {
        let Request { prompt, negative_prompt, seeds, init, settings } = request;
        self.check(settings)?;
        self.check_batch(seeds.len())?;
        if let Some(init) = init {
            self.check_init_image(init, settings)?;
        }
        let prompt = self.encode_prompt(prompt, negative_prompt, settings, observer)?;
        if !self.has_text_encoders_apart() {
            self.free_prompt_encoder();
        }
        let latents = init.as_ref().map(|init| self.encode_init_image(init, observer)).transpose()?;
        let start = Start { init: latents, ..Start::from_seeds(seeds) };
        let latents = self.denoise(&prompt, &start, settings, observer)?;
        let images = self.decode(latents, settings.tiling, observer)?;
        Ok(match init {
            Some(init) => images.into_iter().map(|image| init.finish(image)).collect(),
            None => images,
        })
    }

    /// Whether a component encodes texts.
    fn is_text_encoder(&self, id: ComponentId) -> bool {
        let components = self.model.components();
        components.iter().any(|file| file.component().id == id && file.component().stage == Stage::Text)
    }
}

/// Load components in their places, telling the observer, who may cancel. What text encoders say is put together where it is needed,
/// at the denoising network.
fn load<T>(
    model: &dyn Model,
    options: &PipelineOptions,
    observer: Observer<'_>,
    work: impl FnOnce(&Loading<'_>) -> Result<T, PipelineError>,
) -> Result<T, PipelineError> {
    let observer = std::cell::RefCell::new(observer);
    let progress = |LoadProgress { component, device, done, total }: LoadProgress<'_>| {
        let component = component.unwrap_or(TRANSFORMER);
        (observer.borrow_mut())(Event::Loading { component, device: device.clone(), done, total })
    };
    let files = model.components();
    let placement = files.iter().map(|file| (file.component().id, options.loaded_place_of(*file))).collect();
    let ComponentPlace { device, precision, residency } = options.place_of(TRANSFORMER);
    let loading = Loading {
        progress: &progress,
        releases_modulations: true,
        captures_steps: options.captures_steps,
        placement: Some(&placement),
        ..Loading::new(precision, &device)
    };
    work(&loading.with_residency(residency)).map_err(|error| match error {
        PipelineError::Checkpoint(diffusion_core::checkpoint::CheckpointError::Cancelled { .. }) => {
            PipelineError::Cancelled { during: "loading" }
        }
        other => other,
    })
}

impl PatchWeights for Pipeline {
    type Error = PipelineError;

    fn device(&self) -> Device {
        Self::device(self).clone()
    }

    fn device_of(&self, component: ComponentId) -> Device {
        Self::device_of(self, component).clone()
    }

    fn patch_targets(&self) -> Vec<PatchTarget> {
        self.model.components().iter().filter_map(|file| file.patch_target()).collect()
    }

    fn patch_weights(&mut self, patches: ComponentPatches, mode: PatchMode) -> Result<(), PipelineError> {
        (self.patches, self.patch_mode) = (patches, mode);
        self.forget_identity_of_encoders();
        // What fails here stays unloaded, and is loaded with the patches when it is needed.
        if let Some(denoiser) = self.denoiser.take() {
            let patches = self.patches.get(&TRANSFORMER).cloned().unwrap_or_default();
            self.denoiser = Some(denoiser.patched(&patches, mode)?);
        }
        if let Some(encoder) = self.prompt_encoder.take() {
            self.prompt_encoder = Some(encoder.patched(&self.patches, mode)?);
        }
        Ok(())
    }
}
