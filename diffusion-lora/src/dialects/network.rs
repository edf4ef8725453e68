//! What the names of a file say about the network that they are in.

/// How the segments of a module's name are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// By dots.
    Dots,
    /// By underscores, which occur inside segments as well: names are compared, never split.
    Underscores,
}

/// What the denoising network is called.
pub(crate) const TRANSFORMER: &str = "transformer";

/// What the component of a prefix may be called, the likeliest first. The number of a text encoder is its place in the pipeline,
/// which the model knows; the kinds after it are for a model that has the encoder in another place.
pub(crate) type Aliases = &'static [&'static str];

pub(super) const DENOISER: Aliases = &[TRANSFORMER];
pub(super) const FIRST_ENCODER: Aliases = &["text_encoder", "clip_l"];
pub(super) const SECOND_ENCODER: Aliases = &["text_encoder_2", "clip_g", "t5xxl"];
pub(super) const THIRD_ENCODER: Aliases = &["text_encoder_3", "t5xxl"];
pub(super) const CLIP_L: Aliases = &["clip_l"];
pub(super) const CLIP_G: Aliases = &["clip_g"];
pub(super) const T5XXL: Aliases = &["t5xxl"];
