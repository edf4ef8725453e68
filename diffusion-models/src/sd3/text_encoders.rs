//! The three text encoders, and how their results are put together.

use burn::tensor::{DType, Device, Tensor};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::{Application, Part, PartChanges, TextEmbedding, TextEncoder};

use super::transformer::Sd3Conditioning;
use crate::clip::{ClipTextEncoder, ClipTokenizer};
use crate::t5::{T5Encoder, T5Tokenizer};
use crate::text::{token_ids, with_changes};
use crate::tokenizer::TokenizerError;

/// CLIP-L, CLIP-G and T5 with their tokenizers. Any of them may be missing; what it would have said is then zero.
#[derive(Debug)]
pub struct Sd3TextEncoders {
    /// CLIP-L.
    pub clip_l: Option<(ClipTokenizer, ClipTextEncoder)>,
    /// CLIP-G.
    pub clip_g: Option<(ClipTokenizer, ClipTextEncoder)>,
    /// T5 XXL, 10 GB in half precision: pictures follow long prompts less closely without it.
    pub t5: Option<(T5Tokenizer, T5Encoder)>,
    /// Width of the text tokens that the transformer takes.
    pub(super) joint_attention_dim: usize,
    /// Width of the pooled embedding that the transformer takes.
    pub(super) pooled_projection_dim: usize,
}

/// Tokens of a CLIP encoder that is missing.
const CLIP_LENGTH: usize = 77;

impl Sd3TextEncoders {
    /// Encode one prompt; T5 sees `max_sequence_length` tokens.
    ///
    /// CLIP's tokens are CLIP-L's and CLIP-G's hidden states side by side, padded with zeros to the width of T5's; T5's
    /// tokens follow. A text that is longer than an encoder takes is cut, with a warning (`tracing`).
    ///
    /// Reference: diffusers `pipeline_stable_diffusion_3.py#L230-L464` at 58eb52c.
    ///
    /// # Errors
    /// [`TokenizerError`] if `max_sequence_length` is zero.
    pub fn encode(&self, prompt: &str, max_sequence_length: usize, device: &Device) -> Result<Sd3Conditioning, TokenizerError> {
        let clip_l = encode_clip(self.clip_l.as_ref(), "CLIP-L", prompt, device)?;
        let clip_g = encode_clip(self.clip_g.as_ref(), "CLIP-G", prompt, device)?;
        let (clip, pooled) = self.join_clips(clip_l, clip_g, device);
        let t5 = match &self.t5 {
            Some((tokenizer, encoder)) => {
                let encoding = tokenizer.encode(prompt, max_sequence_length)?;
                encoder.encode(token_ids(encoding, "T5", device)).hidden_states
            }
            None => Tensor::zeros([1, max_sequence_length, self.joint_attention_dim], (device, DType::F32)),
        };
        Ok(Sd3Conditioning { text: Tensor::cat(vec![clip, t5], 1), pooled })
    }

    /// Make `changes` the changes of the encoders' weights, in place of those of now.
    ///
    /// # Errors
    /// [`CheckpointError`] if a file cannot be read any more; the encoders are used up.
    pub fn change_weights(self, changes: &PartChanges, application: Application) -> Result<Self, CheckpointError> {
        Ok(Self {
            clip_l: with_changes(self.clip_l, Part::ClipL, changes, application)?,
            clip_g: with_changes(self.clip_g, Part::ClipG, changes, application)?,
            t5: with_changes(self.t5, Part::T5, changes, application)?,
            ..self
        })
    }

    /// Both CLIPs side by side, at the width of the text tokens, and their pooled embeddings.
    fn join_clips(&self, l: Option<TextEmbedding>, g: Option<TextEmbedding>, device: &Device) -> (Tensor<3>, Tensor<2>) {
        let width = |embedding: &TextEmbedding| embedding.hidden_states.dims()[2];
        let length = l.iter().chain(&g).map(|embedding| embedding.hidden_states.dims()[1]).max().unwrap_or(CLIP_LENGTH);
        let present: usize = l.iter().chain(&g).map(width).sum();
        // The width of one missing encoder is what the pooled embedding leaves for it.
        let missing = self.pooled_projection_dim.saturating_sub(present);
        let padding = self.joint_attention_dim.saturating_sub(self.pooled_projection_dim.max(present));
        let silent = |width| TextEmbedding {
            hidden_states: Tensor::zeros([1, length, width], (device, DType::F32)),
            pooled: Some(Tensor::zeros([1, width], (device, DType::F32))),
        };
        let speaking = match (l, g) {
            (Some(l), Some(g)) => vec![l, g],
            (Some(l), None) => vec![l, silent(missing)],
            (None, Some(g)) => vec![silent(missing), g],
            (None, None) => vec![silent(missing)],
        };
        let pooled = speaking.iter().filter_map(|embedding| embedding.pooled.clone()).collect();
        let mut parts: Vec<Tensor<3>> = speaking.into_iter().map(|embedding| embedding.hidden_states).collect();
        if padding > 0 {
            parts.push(Tensor::zeros([1, length, padding], (device, DType::F32)));
        }
        (Tensor::cat(parts, 2), Tensor::cat(pooled, 1))
    }
}

fn encode_clip(
    clip: Option<&(ClipTokenizer, ClipTextEncoder)>,
    name: &str,
    prompt: &str,
    device: &Device,
) -> Result<Option<TextEmbedding>, TokenizerError> {
    let Some((tokenizer, encoder)) = clip else { return Ok(None) };
    let encoding = tokenizer.encode(prompt, tokenizer.max_length())?;
    Ok(Some(encoder.encode(token_ids(encoding, name, device))))
}
