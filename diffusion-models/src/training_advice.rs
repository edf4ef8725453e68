//! How adapters of a model are best trained.

/// Settings for training adapters of a model that people found to work, to begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingAdvice {
    /// What `modelspec.architecture` calls the model: `stable-diffusion-3-5-medium`.
    pub architecture: &'static str,
    /// Learning rate of `AdamW`.
    pub learning_rate: f64,
    /// Longest gradient.
    pub max_gradient_norm: f64,
    /// How noise levels that are drawn are moved towards noise.
    pub shift: TrainingShift,
    /// Share of captions to leave out: networks that draw with classifier-free guidance are to know what to draw without one.
    pub caption_dropout: f64,
    /// Guidance as an input while training, for networks that take it. 1 gives adapters that work at the guidance that images are
    /// drawn with; what these are drawn with gives washed-out ones.
    pub distilled_guidance: Option<f64>,
    /// What to know before.
    pub caution: Option<&'static str>,
}

/// How noise levels that are drawn are moved towards noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrainingShift {
    /// By the same factor for all pictures.
    Constant(f64),
    /// The more, the more tokens a picture has.
    ByResolution,
}
