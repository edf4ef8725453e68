//! What a model family is to the pipeline.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffusion_core::checkpoint::PublishedNames;
use diffusion_core::{Application, LoadedNetwork, Part, PartChanges, Precision, Residency, Sigmas};

use diffusion_schedulers::schedules::SigmaTable;

use crate::error::PipelineError;
use crate::image_decoder::ImageDecoder;
use crate::latent_rgb::LatentRgb;
use crate::model_source::ModelParts;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::step_cache::FirstBlockCache;

/// A family of models: its files, its parts, and how its parts work together. [`Pipeline`](crate::Pipeline) does the rest.
pub trait Family {
    /// The files of a model, opened and checked.
    type Files: Debug;
    /// Its text encoders with their tokenizers.
    type TextEncoders: Debug;
    /// Its denoising network.
    type Transformer: LoadedNetwork;
    /// An encoded prompt.
    type Conditioning: Clone + Debug;

    /// Open a model's files and check all that can be known without reading weights.
    ///
    /// # Errors
    /// [`PipelineError`] naming the file and what is wrong or missing.
    fn open(path: &Path, parts: &ModelParts) -> Result<Self::Files, PipelineError>;

    /// The settings that the model's authors recommend.
    fn default_settings(files: &Self::Files) -> Settings;

    /// Check the settings that only this family has opinions of.
    ///
    /// # Errors
    /// [`PipelineError`] naming the setting, what it may be and what it is.
    fn check(files: &Self::Files, settings: &Settings) -> Result<(), PipelineError>;

    /// Channels of the latents.
    fn latent_channels(files: &Self::Files) -> usize;

    /// Colours of the latents, for previews, if they are known.
    fn latent_rgb(files: &Self::Files) -> Option<LatentRgb>;

    /// The noise levels of the training, which schedules choose from.
    ///
    /// # Errors
    /// [`PipelineError::Schedule`] if the shift is impossible.
    fn sigma_table(files: &Self::Files, settings: &Settings) -> Result<SigmaTable, PipelineError>;

    /// The noise levels of a run, as the model was released with.
    ///
    /// # Errors
    /// [`PipelineError::Schedule`] if there is no such run.
    fn sigmas(files: &Self::Files, settings: &Settings) -> Result<Sigmas, PipelineError>;

    /// The scale of classifier-free guidance, 1 or less for none.
    fn classifier_free_scale(settings: &Settings) -> f64;

    /// Whether these settings have a use for a negative prompt.
    fn uses_negative_prompt(settings: &Settings) -> bool {
        Self::classifier_free_scale(settings) > 1.0
    }

    /// How much memory the parts take.
    fn plan(files: &Self::Files, settings: &Settings, precision: Precision) -> Plan;

    /// Load the text encoders.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn load_text_encoders(
        files: &Self::Files,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Self::TextEncoders, PipelineError>;

    /// Give back the memory that reading the text encoders took.
    fn release_text_encoders(files: &Self::Files);

    /// Load the denoising network.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn load_transformer(
        files: &Self::Files,
        precision: Precision,
        residency: Residency,
        device: &Device,
    ) -> Result<Self::Transformer, PipelineError>;

    /// What published files call the parameters of the networks that the model has.
    fn published_names(files: &Self::Files) -> BTreeMap<Part, PublishedNames>;

    /// Make `changes` the changes of the text encoders' weights.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`] if a file cannot be read any more.
    fn change_text_encoders(
        encoders: Self::TextEncoders,
        changes: &PartChanges,
        application: Application,
    ) -> Result<Self::TextEncoders, PipelineError>;

    /// Load the decoder.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn load_decoder(files: &Self::Files, precision: Precision, device: &Device) -> Result<ImageDecoder, PipelineError>;

    /// Latents of a picture, loading the encoder for it.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn encode_image(
        files: &Self::Files,
        image: Tensor<4>,
        precision: Precision,
        device: &Device,
    ) -> Result<Tensor<4>, PipelineError>;

    /// Encode one text.
    ///
    /// # Errors
    /// [`PipelineError::Tokenizer`].
    fn encode(
        encoders: &Self::TextEncoders,
        text: &str,
        settings: &Settings,
        device: &Device,
    ) -> Result<Self::Conditioning, PipelineError>;

    /// Conditionings, at least one and of equal lengths, as one batch.
    fn batched(conditionings: &[&Self::Conditioning]) -> Self::Conditioning;

    /// What the network answers, without classifier-free guidance.
    fn velocity(transformer: &Self::Transformer, settings: &Settings, question: Question<'_, Self::Conditioning>) -> Tensor<4>;

    /// The first block whose result is not finite, by its name; `None` if all are.
    fn first_not_finite(
        transformer: &Self::Transformer,
        prompt: &Prompt<Self::Conditioning>,
        settings: &Settings,
        step: Step,
        latents: Tensor<4>,
    ) -> Option<String>;
}

/// An encoded prompt, with the negative one where guidance needs it. Can be kept and used again.
#[derive(Clone, Debug)]
pub struct Prompt<C> {
    /// What the picture shall show.
    pub positive: C,
    /// What it shall not.
    pub negative: Option<C>,
}

impl<C> Prompt<C> {
    /// Prompts that were encoded under the same settings as one, for as many pictures that are drawn at once.
    ///
    /// # Panics
    /// If there are none, or their encodings differ in length.
    pub fn batch<F: Family<Conditioning = C>>(prompts: &[&Self]) -> Self {
        let positive: Vec<&C> = prompts.iter().map(|prompt| &prompt.positive).collect();
        let negative: Option<Vec<&C>> = prompts.iter().map(|prompt| prompt.negative.as_ref()).collect();
        Self { positive: F::batched(&positive), negative: negative.map(|negative| F::batched(&negative)) }
    }
}

/// What the network is asked.
#[derive(Debug)]
pub struct Question<'a, C> {
    /// Noisy latents, `[batch, channels, height, width]`.
    pub latents: Tensor<4>,
    /// Their noise level.
    pub sigma: f64,
    /// Encoded prompts, as many as latents.
    pub conditioning: &'a C,
    /// Blocks to leave out, for skip-layer guidance; only Stable Diffusion 3 looks at it.
    pub skipped_layers: &'a [usize],
    /// What the blocks after the first one add, where it may be known. Not with blocks left out.
    pub cache: Option<&'a mut FirstBlockCache>,
}

/// Where in a run the network is asked.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Index of the step, from 0.
    pub index: usize,
    /// Number of steps of the run.
    pub num_steps: usize,
    /// Noise level.
    pub sigma: f64,
}
