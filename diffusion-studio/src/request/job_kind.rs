//! What images are drawn from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an image is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum JobKind {
    /// A prompt.
    Txt2img,
    /// A prompt and an image.
    Img2img,
    /// A prompt, an image, and a mask of what is redrawn.
    Inpaint,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Txt2img, Self::Img2img, Self::Inpaint];
}
