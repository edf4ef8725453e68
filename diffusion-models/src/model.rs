//! A model as a value.

use std::any::Any;
use std::fmt::Debug;
use std::path::PathBuf;

use diffusion_core::{Loading, Sigmas};
use diffusion_schedulers::path::NoisePath;
use diffusion_schedulers::schedules::{FlowShift, ResolutionShift, SigmaTable};

use crate::autoencoder_file::AutoencoderFile;
use crate::component_file::ComponentFile;
use crate::error::PipelineError;
use crate::left_out::LeftOut;
use crate::prompt_encoder::{PromptEncoder, TokenizedText};
use crate::settings::Settings;
use crate::training_advice::TrainingAdvice;
use diffusion_core::LatentRgb;
use diffusion_core::network::Denoiser;

/// An opened model: its files, checked to the last name and shape, no weight read.
///
/// [`open_model`](crate::open_model) opens one of any family, and [`Pipeline`](crate::Pipeline) draws with it.
pub trait Model: Any + Debug + Send + Sync {
    /// What is known of the model.
    fn info(&self) -> &ModelInfo;

    /// The files of its components, in the order in which they work.
    fn components(&self) -> Vec<&dyn ComponentFile>;

    /// The file of its autoencoder.
    fn autoencoder(&self) -> &AutoencoderFile;

    /// The noise levels of its training, and those that it was released with for a run with these settings.
    ///
    /// # Errors
    /// [`PipelineError::Schedule`] if there is no such run.
    fn schedule(&self, settings: &Settings) -> Result<ModelSchedule, PipelineError>;

    /// A text as the text encoders will get it, known without loading them.
    ///
    /// # Errors
    /// [`PipelineError::Tokenizer`] if the length is zero.
    fn tokenize(&self, text: &str, max_sequence_length: usize) -> Result<TokenizedText, PipelineError>;

    /// Load the text encoders.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn load_prompt_encoder(&self, loading: &Loading<'_>) -> Result<Box<dyn PromptEncoder>, PipelineError>;

    /// Load the text encoders but T5, for [`PromptEncoder::encode_again`].
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn load_clip_encoders(&self, loading: &Loading<'_>) -> Result<Box<dyn PromptEncoder>, PipelineError>;

    /// Load the denoising network.
    ///
    /// # Errors
    /// [`PipelineError::Checkpoint`].
    fn load_denoiser(&self, loading: &Loading<'_>) -> Result<Box<dyn Denoiser>, PipelineError>;
}

/// What is known of a model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Its family: `FLUX.1`.
    pub family: &'static str,
    /// The file or folder that was opened.
    pub path: PathBuf,
    /// Which images it draws.
    pub geometry: ImageGeometry,
    /// The settings that its authors recommend.
    pub defaults: Settings,
    /// What its authors mean by the guidance scale.
    pub guidance: GuidanceKind,
    /// How noise mixes with the image.
    pub noise_path: NoisePath,
    /// Colours of the latents, for previews, if they are known.
    pub latent_rgb: Option<LatentRgb>,
    /// Number of blocks, if skip-layer guidance may leave some out.
    pub skippable_blocks: Option<usize>,
    /// Width of the token vectors of the denoising network.
    pub hidden_size: usize,
    /// Text tokens that the denoising network takes besides those of T5.
    pub clip_tokens: usize,
    /// Most tokens that T5 can be asked to see: what its tokenizer says it was made for.
    pub max_sequence_length: usize,
    /// How adapters of it are best trained.
    pub training: TrainingAdvice,
    /// What the files carry that drawing has no use for.
    pub left_out: Vec<LeftOut>,
}

/// Which images a model draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGeometry {
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Pixels on the side of a latent pixel.
    pub downscale_factor: usize,
    /// Latent pixels on the side of a token.
    pub patch_size: usize,
    /// Most pixels on a side, if there is a limit.
    pub max_side: Option<usize>,
}

impl ImageGeometry {
    /// Both sides of an image are multiples of this.
    pub fn side_step(&self) -> usize {
        self.downscale_factor * self.patch_size
    }

    /// Number of image tokens.
    pub fn tokens(&self, settings: &Settings) -> usize {
        (settings.width / self.side_step()).saturating_mul(settings.height / self.side_step())
    }

    /// The shift of the noise levels of an image of this size.
    pub(crate) fn shift(&self, by_resolution: &ResolutionShift, settings: &Settings) -> Result<FlowShift, PipelineError> {
        let shift = by_resolution.schedule(self.tokens(settings)).map(|schedule| schedule.shift());
        shift.map_err(|_| PipelineError::Size {
            width: settings.width,
            height: settings.height,
            reason: "the larger an image, the more noise its steps see, and here all of them would see nothing else; draw fewer \
                     pixels, or choose a constant shift of the noise levels"
                .to_owned(),
        })
    }
}

/// What a model's authors mean by the guidance scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuidanceKind {
    /// The scale of classifier-free guidance: [`Settings::guidance_scale`].
    ClassifierFree,
    /// An input of the network: [`Settings::distilled_guidance`].
    Distilled,
    /// Nothing: the network was distilled to draw without guidance, and takes none as an input.
    None,
}

/// Noise levels of a model.
#[derive(Clone, Debug)]
pub struct ModelSchedule {
    /// Those of its training, which schedules choose from.
    pub table: SigmaTable,
    /// Those of a run as the model was released.
    pub released: Sigmas,
}
