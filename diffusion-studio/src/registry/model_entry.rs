//! A model by its name.

use std::sync::{Mutex, MutexGuard, PoisonError};

use diffusion_app::devices::Devices;
use diffusion_core::weights::{PatchTarget, PatchWeights};
use diffusion_models::{ModelInfo, Pipeline, PipelineOptions, Settings};

/// A model by its name: opened, checked, and no weight of it read.
#[derive(Debug)]
pub struct ModelEntry {
    /// The name that callers use.
    pub name: String,
    /// What is known of it.
    pub info: ModelInfo,
    /// The settings for callers who choose none.
    pub defaults: Settings,
    /// Bytes of its weights as stored.
    pub bytes: usize,
    /// What tells its weights, and what computes with them, from all others.
    pub identity: String,
    /// How the worker opens it.
    pub options: PipelineOptions,
    /// The devices of its components.
    pub devices: Devices,
    /// Its networks as LoRA files see them.
    pub targets: Vec<PatchTarget>,
    /// Whether it starts from images.
    pub has_image_encoder: bool,
    /// A pipeline that never loads a weight: it checks settings, and plans memory.
    checker: Mutex<Pipeline>,
}

impl ModelEntry {
    pub(super) fn new(name: String, defaults: Settings, identity: String, devices: Devices, checker: Pipeline) -> Self {
        let components = checker.model().components();
        let bytes = components.iter().map(|file| file.checkpoint().num_bytes()).sum();
        let (info, targets) = (checker.info().clone(), checker.patch_targets());
        let has_image_encoder = checker.model().autoencoder().has_encoder();
        let options = checker.options().clone();
        let checker = Mutex::new(checker);
        Self { name, info, defaults, bytes, identity, options, devices, targets, has_image_encoder, checker }
    }

    /// The model with these colours of its latents, for previews.
    #[cfg(feature = "embedded-model")]
    pub(super) fn with_colors(mut self, colors: diffusion_models::LatentRgb) -> Self {
        self.info.latent_rgb = Some(colors);
        self
    }

    /// Its name among hashes in pictures, which other programs make of a file's contents: reading those takes minutes, and
    /// pictures are told apart by this as well.
    pub fn short_hash(&self) -> &str {
        &self.identity[..10]
    }

    /// The pipeline that checks and plans.
    pub fn checker(&self) -> MutexGuard<'_, Pipeline> {
        // It holds nothing that a panic could leave half done.
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
