//! The three text encoders, and how their results are put together.

use burn::tensor::{DType, Device, Tensor};
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::weights::{ComponentId, ComponentPatches, PatchMode};
use diffusion_core::{TextEmbedding, TextEncoder};

use crate::clip::{ClipTextEncoder, ClipTokenizer};
use crate::components::{CLIP_G, CLIP_L, T5XXL};
use crate::error::PipelineError;
use crate::on_device::embedding_on;
use crate::prompt_encoder::{EncodedText, PromptEncoder, Truncation, token_ids, with_patches};
use crate::t5::{T5Encoder, T5Tokenizer};
use diffusion_core::network::Conditioning;

/// CLIP-L, CLIP-G and T5 with their tokenizers. Any of them may be missing; what it would have said is then zero.
#[derive(Debug)]
pub struct Sd3PromptEncoder {
    /// CLIP-L.
    pub clip_l: Option<(ClipTokenizer, ClipTextEncoder)>,
    /// CLIP-G.
    pub clip_g: Option<(ClipTokenizer, ClipTextEncoder)>,
    /// T5 XXL, 10 GB in half precision: images follow long prompts less closely without it.
    pub t5: Option<(T5Tokenizer, T5Encoder)>,
    /// Width of the text tokens that the transformer takes.
    pub(super) joint_attention_dim: usize,
    /// Width of the pooled embedding that the transformer takes.
    pub(super) pooled_projection_dim: usize,
    /// Where what the encoders say is put together; each of them may be on another.
    pub(super) device: Device,
}

/// Tokens of a CLIP encoder that is missing.
const CLIP_LENGTH: usize = 77;

impl PromptEncoder for Sd3PromptEncoder {
    /// CLIP's tokens are CLIP-L's and CLIP-G's hidden states side by side, padded with zeros to the width of T5's; T5's
    /// tokens follow.
    ///
    /// Reference: diffusers `pipeline_stable_diffusion_3.py#L230-L464` at 58eb52c.
    fn encode(&self, text: &str, max_sequence_length: usize) -> Result<EncodedText, PipelineError> {
        let (device, mut truncated) = (&self.device, Vec::new());
        let (clip, pooled) = self.encode_clips(text, &mut truncated)?;
        let t5 = match &self.t5 {
            Some((tokenizer, encoder)) => {
                let encoding = tokenizer.encode(text, max_sequence_length)?;
                let ids = token_ids(encoding, T5XXL, &mut truncated, &encoder.device());
                embedding_on(encoder.encode(ids)?, device).hidden_states
            }
            None => Tensor::zeros([1, max_sequence_length, self.joint_attention_dim], (device, DType::F32)),
        };
        let conditioning = Conditioning { tokens: Tensor::cat(vec![clip, t5], 1), pooled };
        Ok(EncodedText { conditioning, truncated })
    }

    fn encode_again(&self, text: &str, known: &Conditioning) -> Result<Conditioning, PipelineError> {
        let (clip, pooled) = self.encode_clips(text, &mut Vec::new())?;
        let ([_, clip_len, _], [_, len, _]) = (clip.dims(), known.tokens.dims());
        assert!(clip_len <= len, "{clip_len} tokens of CLIP in {len} known ones");
        let t5 = known.tokens.clone().narrow(1, clip_len, len - clip_len);
        Ok(Conditioning { tokens: Tensor::cat(vec![clip, t5], 1), pooled })
    }

    fn patched(self: Box<Self>, patches: &ComponentPatches, mode: PatchMode) -> Result<Box<dyn PromptEncoder>, CheckpointError> {
        Ok(Box::new(Self {
            clip_l: with_patches(self.clip_l, CLIP_L, patches, mode)?,
            clip_g: with_patches(self.clip_g, CLIP_G, patches, mode)?,
            t5: with_patches(self.t5, T5XXL, patches, mode)?,
            ..*self
        }))
    }
}

impl Sd3PromptEncoder {
    /// What both CLIPs say, at the width of the text tokens, and pooled.
    fn encode_clips(&self, text: &str, truncated: &mut Vec<Truncation>) -> Result<(Tensor<3>, Tensor<2>), PipelineError> {
        let mut clip = |clip: &Option<(ClipTokenizer, ClipTextEncoder)>, id: ComponentId| {
            clip.as_ref().map(|clip| encode_clip(clip, id, text, truncated, &self.device)).transpose()
        };
        let (clip_l, clip_g) = (clip(&self.clip_l, CLIP_L)?, clip(&self.clip_g, CLIP_G)?);
        Ok(self.join_clips(clip_l, clip_g))
    }

    /// Both CLIPs side by side, at the width of the text tokens, and their pooled embeddings.
    fn join_clips(&self, l: Option<TextEmbedding>, g: Option<TextEmbedding>) -> (Tensor<3>, Tensor<2>) {
        let device = &self.device;
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
    (tokenizer, encoder): &(ClipTokenizer, ClipTextEncoder),
    id: ComponentId,
    text: &str,
    truncated: &mut Vec<Truncation>,
    device: &Device,
) -> Result<TextEmbedding, PipelineError> {
    let encoding = tokenizer.encode(text, tokenizer.max_length())?;
    Ok(embedding_on(encoder.encode(token_ids(encoding, id, truncated, &encoder.device()))?, device))
}
