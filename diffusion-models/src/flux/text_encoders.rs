//! CLIP-L for the whole prompt, T5 for its words.

use burn::tensor::{DType, Device, Tensor};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::{Application, Part, PartChanges, TextEncoder};

use super::transformer::FluxConditioning;
use crate::clip::{ClipTextEncoder, ClipTokenizer};
use crate::settings::Settings;
use crate::t5::{T5Encoder, T5Tokenizer};
use crate::text::{token_ids, with_changes};
use crate::tokenizer::TokenizerError;

/// CLIP-L and T5 with their tokenizers. Either may be missing; what it would have said is then zero.
#[derive(Debug)]
pub struct FluxTextEncoders {
    /// CLIP-L, for the pooled embedding.
    pub clip_l: Option<(ClipTokenizer, ClipTextEncoder)>,
    /// T5 XXL, for the text tokens.
    pub t5: Option<(T5Tokenizer, T5Encoder)>,
    pub(super) joint_attention_dim: usize,
    pub(super) pooled_projection_dim: usize,
}

impl FluxTextEncoders {
    /// Encode one prompt. A text that is longer than an encoder takes is cut, with a warning (`tracing`).
    ///
    /// Reference: diffusers `pipeline_flux.py#L218-L390` at 58eb52c.
    ///
    /// # Errors
    /// [`TokenizerError`] if the maximum sequence length is zero.
    pub fn encode(&self, prompt: &str, settings: &Settings, device: &Device) -> Result<FluxConditioning, TokenizerError> {
        let text = match &self.t5 {
            Some((tokenizer, encoder)) => {
                let encoding = tokenizer.encode(prompt, settings.max_sequence_length)?;
                encoder.encode(token_ids(encoding, "T5", device)).hidden_states
            }
            None => Tensor::zeros([1, settings.max_sequence_length, self.joint_attention_dim], (device, DType::F32)),
        };
        let pooled = match &self.clip_l {
            Some((tokenizer, encoder)) => {
                let encoding = tokenizer.encode(prompt, tokenizer.max_length())?;
                encoder.encode(token_ids(encoding, "CLIP-L", device)).pooled
            }
            None => None,
        };
        let pooled = pooled.unwrap_or_else(|| Tensor::zeros([1, self.pooled_projection_dim], (device, DType::F32)));
        Ok(FluxConditioning { text, pooled, distilled_guidance: settings.guidance_scale })
    }

    /// Make `changes` the changes of the encoders' weights, in place of those of now.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file cannot be read any more; the encoders are used up.
    pub fn change_weights(self, changes: &PartChanges, application: Application) -> Result<Self, CheckpointError> {
        Ok(Self {
            clip_l: with_changes(self.clip_l, Part::ClipL, changes, application)?,
            t5: with_changes(self.t5, Part::T5, changes, application)?,
            ..self
        })
    }
}
