//! Names of CLIP's weights in transformers' layout, which every published file uses.

use diffusion_core::checkpoint::KeyMap;

/// Prefix that files carry and newer versions of transformers leave out.
pub(super) const PREFIX: &str = "text_model.";

const TABLE: &[(&str, &str)] = &[
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "position_embedding"),
    ("encoder.layers.{i}.layer_norm1", "layers.{i}.attention_norm"),
    ("encoder.layers.{i}.layer_norm2", "layers.{i}.feed_forward_norm"),
    ("encoder.layers.{i}.self_attn.q_proj", "layers.{i}.query"),
    ("encoder.layers.{i}.self_attn.k_proj", "layers.{i}.key"),
    ("encoder.layers.{i}.self_attn.v_proj", "layers.{i}.value"),
    ("encoder.layers.{i}.self_attn.out_proj", "layers.{i}.attention_output"),
    ("encoder.layers.{i}.mlp.fc1", "layers.{i}.feed_forward_input"),
    ("encoder.layers.{i}.mlp.fc2", "layers.{i}.feed_forward_output"),
    ("final_layer_norm", "final_norm"),
];

/// Names after [`PREFIX`] is taken off. `projected` tells whether the model has the text projection; files without a
/// use for it carry it all the same.
pub(super) fn key_map(projected: bool) -> KeyMap {
    let map = KeyMap::new().rename_all(TABLE).ignore("embeddings.position_ids").ignore("logit_scale");
    if projected { map.rename("text_projection", "projection") } else { map.ignore("text_projection") }
}
