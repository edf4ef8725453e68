//! Models in memory.

use diffusion_app::device::DeviceName;
use diffusion_app::devices::Devices;
use diffusion_app::lora_mode::lora_mode;
use diffusion_app::memory::available_memory;
use diffusion_app::prompt_cache::open_prompt_cache_on;
use diffusion_core::Residency;
use diffusion_core::weights::PatchMode;
use diffusion_lora::{LoraSet, SetLoras};
use diffusion_models::components::TRANSFORMER;
use diffusion_models::{Pipeline, PipelineError, Plan, PromptStore, Settings};

use crate::jobs::Loaded;
use crate::registry::ModelEntry;
use crate::request::{Drawing, LoraUse, needs};
use crate::studio::Studio;

/// Models in memory; the one that was used longest ago makes room for others.
#[derive(Debug)]
pub(super) struct Pipelines {
    device: DeviceName,
    prompts: std::path::PathBuf,
    /// The one that was used last comes last.
    loaded: Vec<LoadedModel>,
}

/// A model in memory.
#[derive(Debug)]
pub(super) struct LoadedModel {
    model: String,
    pub(super) pipeline: Pipeline,
    loras: Vec<LoraUse>,
    /// What tells the contents of their files; `None` while nobody can tell what is applied.
    contents: Option<Vec<String>>,
    residency: Residency,
    /// Whether text encoders may stay in memory beside the denoising network.
    pub(super) keeps_encoders: bool,
}

impl Pipelines {
    pub(super) fn new(studio: &Studio) -> Self {
        let config = studio.config();
        Self { device: config.device, prompts: config.data.join("prompts"), loaded: Vec::new() }
    }

    /// Forget what is loaded.
    pub(super) fn clear(&mut self) {
        self.loaded.clear();
    }

    /// What is loaded, for forecasts.
    pub(super) fn loaded(&self) -> Loaded {
        let models = || self.loaded.iter().filter(|model| model.pipeline.denoiser().is_some());
        let needs = |model: &LoadedModel| Some(needs(&model.model, &model.loras, model.contents.as_ref()?));
        Loaded {
            needs: models().filter_map(needs).collect(),
            models: models().map(|model| model.model.clone()).collect(),
            applied: self.loaded.last().map(|model| (model.model.clone(), model.loras.clone())),
        }
    }

    /// Bytes of weights in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let loaded = self.loaded.iter().filter(|model| model.pipeline.denoiser().is_some());
        loaded.map(|model| weights(&model.pipeline.plan(&model.pipeline.default_settings(), 1), model.residency)).sum()
    }

    /// A model to draw with, ready for these settings.
    pub(super) fn model(&mut self, entry: &ModelEntry, settings: &Settings) -> Result<&mut LoadedModel, PipelineError> {
        let known = self.loaded.iter().position(|model| model.model == entry.name);
        let loaded = match known {
            Some(index) => self.loaded.remove(index),
            None => self.open(entry)?,
        };
        let plan = loaded.pipeline.plan(settings, 1).on(&entry.options.device);
        let is_new = loaded.pipeline.denoiser().is_none();
        self.make_room(&plan, if is_new { Residency::Resident } else { loaded.residency }, is_new);
        self.loaded.push(loaded);
        let Some(loaded) = self.loaded.last_mut() else { unreachable!("it was just put there") };
        if is_new && let Some(available) = available_memory(self.device) {
            // Guidance's passes one after the other come before weights that are streamed.
            let drawing_on = entry.devices.of(TRANSFORMER).name;
            let settings = loaded.with_guidance_that_fits(settings, available_memory(drawing_on));
            let plan = loaded.pipeline.plan(&settings, 1).on(&entry.options.device);
            loaded.residency = plan.residency(available);
            loaded.keeps_encoders = loaded.pipeline.has_text_encoders_apart() || all_at_once(&plan) <= available;
            loaded.pipeline.set_residency(loaded.residency);
        }
        Ok(loaded)
    }

    fn open(&self, entry: &ModelEntry) -> Result<LoadedModel, PipelineError> {
        let mut pipeline = Pipeline::open(&entry.info.path, &entry.options)?;
        let plan = pipeline.plan(&entry.defaults, 1);
        entry.devices.set_residency(&plan, &mut pipeline, |device, plan| {
            available_memory(device.name).map_or(Residency::Resident, |available| plan.residency(available))
        });
        if let Some(store) = self.prompt_store(&entry.devices) {
            pipeline.set_prompt_store(store);
        }
        Ok(LoadedModel {
            model: entry.name.clone(),
            // Where nobody tells how much memory a device has, stages follow one another in it.
            keeps_encoders: pipeline.has_text_encoders_apart(),
            residency: pipeline.options().residency,
            pipeline,
            loras: Vec::new(),
            contents: Some(Vec::new()),
        })
    }

    fn prompt_store(&self, devices: &Devices) -> Option<PromptStore> {
        let opened = open_prompt_cache_on(&self.prompts, devices);
        opened.map_err(|error| tracing::warn!(%error, "prompts are not kept between runs")).ok()
    }

    /// Unload what was used longest ago until a run has the memory that it takes.
    fn make_room(&mut self, plan: &Plan, residency: Residency, is_new: bool) {
        let needed = match (is_new, residency) {
            (true, Residency::Resident) => plan.peak_resident,
            (true, _) => plan.peak_streamed,
            (false, _) => plan.components.iter().map(|component| component.working).max().unwrap_or(0),
        };
        // Where nobody tells, two models at once are one too many.
        let is_short = || available_memory(self.device).map_or(is_new, |available| available < needed);
        while !self.loaded.is_empty() && is_short() {
            let unloaded = self.loaded.remove(0);
            tracing::info!(model = unloaded.model, "unloaded, to make room");
        }
    }
}

impl LoadedModel {
    /// The settings, with guidance evaluated as memory allows.
    pub(super) fn with_guidance_that_fits(&self, settings: &Settings, available: Option<usize>) -> Settings {
        let mut settings = settings.clone();
        if let Some(available) = available {
            // What is loaded is free for the run that it is loaded for.
            let plan = self.pipeline.plan(&settings, 1).on(self.pipeline.device());
            let residency = self.pipeline.denoiser().map(|_| self.residency);
            let available = available.saturating_add(residency.map_or(0, |residency| weights(&plan, residency)));
            settings.guidance.evaluation = self.pipeline.guidance_that_fits(&settings, 1, available, residency);
        }
        settings
    }

    /// Draw with these LoRAs from now on; whether anything had to change.
    pub(super) fn set_loras(&mut self, studio: &Studio, drawing: &Drawing) -> Result<bool, String> {
        let entries = drawing.loras.iter().map(|LoraUse { name, .. }| {
            studio.registry().loras.find(name).ok_or_else(|| format!("the LoRA \"{name}\" is no longer there"))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let contents = entries.iter().map(|entry| Ok(entry.digest()?.to_owned()));
        let contents: Vec<String> = contents.collect::<std::io::Result<_>>().map_err(|error| error.to_string())?;
        if self.loras == drawing.loras && self.contents.as_ref() == Some(&contents) {
            return Ok(false);
        }
        let mut set = LoraSet::new();
        for (entry, LoraUse { weight, .. }) in entries.iter().zip(&drawing.loras) {
            set = set.with(entry.lora()?, *weight);
        }
        let plan = self.pipeline.plan(&drawing.settings, 1).on(self.pipeline.device());
        let set = set.with_mode(self.patch_mode(&plan, available_memory(studio.config().device_of(TRANSFORMER))));
        self.contents = None;
        self.pipeline.set_loras(&set).map_err(|error| error.to_string())?;
        (self.loras, self.contents) = (drawing.loras.clone(), Some(contents));
        Ok(true)
    }

    /// Fuse if the memory suffices for the weights that the patched ones are restored from.
    fn patch_mode(&self, plan: &Plan, available: Option<usize>) -> PatchMode {
        let fused = plan.component(TRANSFORMER).map_or(0, |transformer| transformer.weights);
        let is_loaded = self.pipeline.denoiser().is_some();
        let needed = if is_loaded { fused } else { plan.peak_resident + fused };
        lora_mode(self.pipeline.place_of(TRANSFORMER).residency, needed, available)
    }
}

/// Bytes of all components at once.
fn all_at_once(plan: &Plan) -> usize {
    let working = plan.components.iter().map(|component| component.working).max().unwrap_or(0);
    plan.components.iter().map(|component| component.weights).sum::<usize>() + working
}

fn weights(plan: &Plan, residency: Residency) -> usize {
    let of = |component: &diffusion_models::PlannedComponent| match residency {
        Residency::Resident => component.weights,
        _ => component.weights_streamed,
    };
    plan.component(TRANSFORMER).map_or(0, of)
}
