//! CLIP-L for the whole prompt, T5 for its words.

use burn::tensor::{DType, Device, Tensor};
use diffusion_core::TextEncoder;
use diffusion_core::checkpoint::CheckpointError;
use diffusion_core::weights::{ComponentPatches, PatchMode};

use crate::clip::{ClipTextEncoder, ClipTokenizer};
use crate::components::{CLIP_L, T5XXL};
use crate::error::PipelineError;
use crate::on_device::embedding_on;
use crate::prompt_encoder::{EncodedText, PromptEncoder, Truncation, token_ids, with_patches};
use crate::t5::{T5Encoder, T5Tokenizer};
use diffusion_core::network::Conditioning;

/// CLIP-L and T5 with their tokenizers. Either may be missing; what it would have said is then zero.
#[derive(Debug)]
pub struct FluxPromptEncoder {
    /// CLIP-L, for the pooled embedding.
    pub clip_l: Option<(ClipTokenizer, ClipTextEncoder)>,
    /// T5 XXL, for the text tokens.
    pub t5: Option<(T5Tokenizer, T5Encoder)>,
    pub(super) joint_attention_dim: usize,
    pub(super) pooled_projection_dim: usize,
    /// Where what the encoders say is put together; each of them may be on another.
    pub(super) device: Device,
}

impl PromptEncoder for FluxPromptEncoder {
    /// Reference: diffusers `pipeline_flux.py#L218-L390` at 58eb52c.
    fn encode(&self, text: &str, max_sequence_length: usize) -> Result<EncodedText, PipelineError> {
        let (device, mut truncated) = (&self.device, Vec::new());
        let tokens = match &self.t5 {
            Some((tokenizer, encoder)) => {
                let encoding = tokenizer.encode(text, max_sequence_length)?;
                let ids = token_ids(encoding, T5XXL, &mut truncated, &encoder.device());
                embedding_on(encoder.encode(ids)?, device).hidden_states
            }
            None => Tensor::zeros([1, max_sequence_length, self.joint_attention_dim], (device, DType::F32)),
        };
        let pooled = self.encode_clip(text, &mut truncated)?;
        Ok(EncodedText { conditioning: Conditioning { tokens, pooled }, truncated })
    }

    fn encode_again(&self, text: &str, known: &Conditioning) -> Result<Conditioning, PipelineError> {
        Ok(Conditioning { tokens: known.tokens.clone(), pooled: self.encode_clip(text, &mut Vec::new())? })
    }

    fn patched(self: Box<Self>, patches: &ComponentPatches, mode: PatchMode) -> Result<Box<dyn PromptEncoder>, CheckpointError> {
        Ok(Box::new(Self {
            clip_l: with_patches(self.clip_l, CLIP_L, patches, mode)?,
            t5: with_patches(self.t5, T5XXL, patches, mode)?,
            ..*self
        }))
    }
}

impl FluxPromptEncoder {
    fn encode_clip(&self, text: &str, truncated: &mut Vec<Truncation>) -> Result<Tensor<2>, PipelineError> {
        let pooled = match &self.clip_l {
            Some((tokenizer, encoder)) => {
                let encoding = tokenizer.encode(text, tokenizer.max_length())?;
                let ids = token_ids(encoding, CLIP_L, truncated, &encoder.device());
                embedding_on(encoder.encode(ids)?, &self.device).pooled
            }
            None => None,
        };
        Ok(pooled.unwrap_or_else(|| Tensor::zeros([1, self.pooled_projection_dim], (&self.device, DType::F32))))
    }
}
