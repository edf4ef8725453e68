//! Names of T5's weights: those of transformers, and those of llama.cpp, which GGUF files have.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap};

/// The token table, under the name that the decoder shares and under the encoder's own; files hold one or both.
pub(super) const SHARED_TABLE: &str = "shared.weight";
pub(super) const ENCODER_TABLE: &str = "encoder.embed_tokens.weight";

const TABLE: &[(&str, &str)] = &[
    ("shared", "token_embedding"),
    ("encoder.embed_tokens", "token_embedding"),
    ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "relative_position_bias"),
    ("encoder.block.{i}.layer.0.layer_norm", "blocks.{i}.attention_norm"),
    ("encoder.block.{i}.layer.0.SelfAttention.q", "blocks.{i}.query"),
    ("encoder.block.{i}.layer.0.SelfAttention.k", "blocks.{i}.key"),
    ("encoder.block.{i}.layer.0.SelfAttention.v", "blocks.{i}.value"),
    ("encoder.block.{i}.layer.0.SelfAttention.o", "blocks.{i}.attention_output"),
    ("encoder.block.{i}.layer.1.layer_norm", "blocks.{i}.feed_forward_norm"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi_0", "blocks.{i}.feed_forward_gate"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wi_1", "blocks.{i}.feed_forward_input"),
    ("encoder.block.{i}.layer.1.DenseReluDense.wo", "blocks.{i}.feed_forward_output"),
    ("encoder.final_layer_norm", "final_norm"),
];

/// llama.cpp's names of the encoder, and those of transformers.
const LLAMA_CPP: &[(&str, &str)] = &[
    ("token_embd", "shared"),
    ("enc.output_norm", "encoder.final_layer_norm"),
    ("enc.blk.{i}.attn_norm", "encoder.block.{i}.layer.0.layer_norm"),
    ("enc.blk.{i}.attn_q", "encoder.block.{i}.layer.0.SelfAttention.q"),
    ("enc.blk.{i}.attn_k", "encoder.block.{i}.layer.0.SelfAttention.k"),
    ("enc.blk.{i}.attn_v", "encoder.block.{i}.layer.0.SelfAttention.v"),
    ("enc.blk.{i}.attn_o", "encoder.block.{i}.layer.0.SelfAttention.o"),
    ("enc.blk.{i}.attn_rel_b", "encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias"),
    ("enc.blk.{i}.ffn_norm", "encoder.block.{i}.layer.1.layer_norm"),
    ("enc.blk.{i}.ffn_gate", "encoder.block.{i}.layer.1.DenseReluDense.wi_0"),
    ("enc.blk.{i}.ffn_up", "encoder.block.{i}.layer.1.DenseReluDense.wi_1"),
    ("enc.blk.{i}.ffn_down", "encoder.block.{i}.layer.1.DenseReluDense.wo"),
];

/// The checkpoint under transformers' names, whichever it has. The decoder of a whole T5, which no image model uses, is left out.
pub(crate) fn with_transformers_names(checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    if !checkpoint.tensors().any(|(name, _)| name.starts_with("enc.blk.")) {
        return Ok(checkpoint);
    }
    checkpoint.renamed(&KeyMap::new().rename_all(LLAMA_CPP).ignore("dec").ignore("output"))
}

pub(super) fn key_map() -> KeyMap {
    // Some single files carry the tokenizer's model beside the weights.
    KeyMap::new().rename_all(TABLE).ignore("spiece_model")
}
