//! The components of a model, as a table.

use diffusion_core::weights::ComponentId;

/// The denoising network.
pub const TRANSFORMER: ComponentId = ComponentId::new("transformer", "transformer");
/// CLIP-L, the smaller of the CLIP text encoders.
pub const CLIP_L: ComponentId = ComponentId::new("clip_l", "CLIP-L");
/// CLIP-G, the larger one.
pub const CLIP_G: ComponentId = ComponentId::new("clip_g", "CLIP-G");
/// The T5 text encoder.
pub const T5XXL: ComponentId = ComponentId::new("t5xxl", "T5");
/// The autoencoder.
pub const VAE: ComponentId = ComponentId::new("vae", "autoencoder");

/// The stages of a run; the components of one stage are in memory together, those of different stages are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Encoding the prompt.
    Text,
    /// Denoising.
    Denoise,
    /// Decoding the image.
    Decode,
}

/// Where a component lies in the files that a family publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Which one it is.
    pub id: ComponentId,
    /// Its folder in a diffusers folder.
    pub folder: &'static str,
    /// The folder of its tokenizer, if it has one.
    pub tokenizer: Option<&'static str>,
    /// Prefixes of its tensors in all-in-one files.
    pub prefixes: &'static [&'static str],
    /// When it works.
    pub stage: Stage,
}

impl Component {
    pub(crate) const TRANSFORMER: Self = Self {
        id: TRANSFORMER,
        folder: "transformer",
        tokenizer: None,
        prefixes: &["model.diffusion_model."],
        stage: Stage::Denoise,
    };
    pub(crate) const CLIP_L: Self = Self {
        id: CLIP_L,
        folder: "text_encoder",
        tokenizer: Some("tokenizer"),
        prefixes: &["text_encoders.clip_l.transformer."],
        stage: Stage::Text,
    };
    pub(crate) const CLIP_G: Self = Self {
        id: CLIP_G,
        folder: "text_encoder_2",
        tokenizer: Some("tokenizer_2"),
        prefixes: &["text_encoders.clip_g.transformer."],
        stage: Stage::Text,
    };
    /// T5 as the third text encoder; families where it is the second say so.
    pub(crate) const T5: Self = Self {
        id: T5XXL,
        folder: "text_encoder_3",
        tokenizer: Some("tokenizer_3"),
        prefixes: &["text_encoders.t5xxl.transformer."],
        stage: Stage::Text,
    };
    pub(crate) const VAE: Self =
        Self { id: VAE, folder: "vae", tokenizer: None, prefixes: &["first_stage_model.", "vae."], stage: Stage::Decode };
}
