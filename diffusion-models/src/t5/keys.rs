//! Names of T5's weights in transformers' layout.

use diffusion_core::checkpoint::KeyMap;

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

pub(super) fn key_map() -> KeyMap {
    // Some single files carry the tokenizer's model beside the weights.
    KeyMap::new().rename_all(TABLE).ignore("spiece_model")
}
