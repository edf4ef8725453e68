//! What a caller asks to be drawn.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job_kind::JobKind;
use super::picture_format::PictureFormat;

/// What a caller asks to be drawn. What is absent is the model's own, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobRequest {
    /// What is drawn from. Absent: told by `image` and `mask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<JobKind>,
    /// The name of a model. Absent: the first one.
    pub model: Option<String>,
    /// What the image shall show.
    pub prompt: String,
    /// What it shall not show; read where there is classifier-free guidance.
    pub negative_prompt: String,
    /// Width in pixels.
    pub width: Option<usize>,
    /// Height in pixels.
    pub height: Option<usize>,
    /// Number of steps.
    pub steps: Option<usize>,
    /// How strictly to follow the prompt: what the model's authors call so.
    pub guidance_scale: Option<f64>,
    /// Classifier-free guidance for models that were made to do without.
    pub true_cfg_scale: Option<f64>,
    /// Name of the sampler.
    pub sampler: Option<String>,
    /// Name of the noise schedule. Absent: the model's own.
    pub schedule: Option<String>,
    /// Shift of the noise levels: a factor, or `dynamic`.
    pub shift: Option<NoiseShiftRequest>,
    /// Noise level of the last step, which the others are stretched to.
    pub shift_terminal: Option<f64>,
    /// Exactly these noise levels.
    pub sigmas: Option<Vec<f64>>,
    /// Seed of the first image. Absent: the server draws one.
    pub seed: Option<u64>,
    /// Number of images, with seeds that count up.
    pub count: Option<usize>,
    /// LoRAs with their weights.
    pub loras: Vec<LoraRequest>,
    /// An image to start from: base64, a data URL, or the URL of an earlier input.
    pub image: Option<String>,
    /// Which part of it to redraw, of the same size: white is redrawn.
    pub mask: Option<String>,
    /// How far to go from the image, above 0 and at most 1.
    pub strength: Option<f64>,
    /// Pixels over which the edge of the mask rises, inwards.
    pub mask_feather: Option<usize>,
    /// Decode in overlapping tiles, which takes less memory.
    pub tile_vae: bool,
    /// Tokens of the prompt that T5 sees.
    pub max_sequence_length: Option<usize>,
    /// How both passes of classifier-free guidance become one.
    pub guidance: Option<GuidanceRequest>,
    /// Skip-layer guidance.
    pub skip_layers: Option<SkipLayersRequest>,
    /// Work of earlier steps used again.
    pub step_cache: Option<StepCacheRequest>,
    /// Format of the finished image.
    pub output_format: Option<PictureFormat>,
    /// Quality of a JPEG, from 1 to 100.
    pub quality: Option<u8>,
}

/// A LoRA with its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraRequest {
    /// Its name in the list of LoRAs.
    pub name: String,
    /// How strong it is; 1 is what it was trained with.
    #[serde(default = "full_weight")]
    pub weight: f64,
}

fn full_weight() -> f64 {
    1.0
}

/// A shift of the noise levels: a factor, or a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum NoiseShiftRequest {
    /// A factor.
    Factor(f64),
    /// `dynamic`: grows with the image.
    Name(String),
}

/// How both passes of classifier-free guidance become one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuidanceRequest {
    /// `cfg`, `zero-star` or `apg`.
    pub method: Option<String>,
    /// Share to which the guided velocity gets the deviation of the conditional one.
    pub rescale: f64,
    /// Noise levels between which to guide.
    pub interval: Option<[f64; 2]>,
    /// Steps at the start that `zero-star` stands still in.
    pub zero_steps: Option<usize>,
    /// Share that `apg` keeps of the guidance parallel to the image.
    pub eta: f64,
    /// Largest norm of the guidance of `apg`.
    pub norm_threshold: Option<f64>,
    /// Share of the past guidance that `apg` adds.
    pub momentum: f64,
    /// Run one pass after the other, with half of the memory.
    pub sequential: bool,
}

/// Skip-layer guidance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipLayersRequest {
    /// Blocks that are left out.
    pub layers: Vec<usize>,
    /// Its scale.
    pub scale: Option<f64>,
    /// Share of the steps after which it starts.
    pub start: Option<f64>,
    /// Share of the steps before which it stops.
    pub stop: Option<f64>,
}

/// Work of earlier steps used again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepCacheRequest {
    /// `first-block` or `easy`.
    pub method: String,
    /// Relative change that is let pass.
    pub threshold: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_named() {
        let error = serde_json::from_str::<JobRequest>(r#"{"prompt":"a","stepz":3}"#).unwrap_err().to_string();
        assert!(error.contains("`stepz`"), "{error}");
    }

    #[test]
    fn a_shift_is_a_number_or_a_word() {
        let shift = |json: &str| serde_json::from_str::<NoiseShiftRequest>(json).unwrap();
        assert_eq!(shift("3"), NoiseShiftRequest::Factor(3.0));
        assert_eq!(shift("\"dynamic\""), NoiseShiftRequest::Name("dynamic".to_owned()));
    }
}
