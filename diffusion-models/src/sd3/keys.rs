//! Names of the transformer's weights: Stability's single files, and diffusers.
//!
//! The module keeps queries, keys and values apart, as diffusers does: the rows of Stability's fused `qkv` are then
//! plain slices of the mapped file, and nothing has to be copied for either layout.

use diffusion_core::checkpoint::{Checkpoint, KeyMap, Layout};

use super::config::Sd3Config;

/// Stability's names, the same inside the image and the text stream of a block.
const ORIGINAL: &[(&str, &str)] = &[
    ("x_embedder.proj", "patch_embedding"),
    ("pos_embed", "position_table"),
    ("t_embedder.mlp.0", "timestep_embedding.input"),
    ("t_embedder.mlp.2", "timestep_embedding.output"),
    ("y_embedder.mlp.0", "pooled_embedding.input"),
    ("y_embedder.mlp.2", "pooled_embedding.output"),
    ("context_embedder", "text_projection"),
    ("final_layer.adaLN_modulation.1", "final_modulation"),
    ("final_layer.linear", "final_projection"),
];

const ORIGINAL_STREAM: &[(&str, &str)] = &[
    ("adaLN_modulation.1", "modulation"),
    ("attn.proj", "attention.output"),
    ("attn.ln_q", "attention.query_norm"),
    ("attn.ln_k", "attention.key_norm"),
    ("attn2.proj", "second_attention.output"),
    ("attn2.ln_q", "second_attention.query_norm"),
    ("attn2.ln_k", "second_attention.key_norm"),
    ("mlp.fc1", "feed_forward.input"),
    ("mlp.fc2", "feed_forward.output"),
];

const DIFFUSERS: &[(&str, &str)] = &[
    ("pos_embed.proj", "patch_embedding"),
    ("pos_embed.pos_embed", "position_table"),
    ("time_text_embed.timestep_embedder.linear_1", "timestep_embedding.input"),
    ("time_text_embed.timestep_embedder.linear_2", "timestep_embedding.output"),
    ("time_text_embed.text_embedder.linear_1", "pooled_embedding.input"),
    ("time_text_embed.text_embedder.linear_2", "pooled_embedding.output"),
    ("context_embedder", "text_projection"),
    ("proj_out", "final_projection"),
];

const DIFFUSERS_BLOCK: &[(&str, &str)] = &[
    ("norm1.linear", "image.modulation"),
    ("norm1_context.linear", "text.modulation"),
    ("attn.to_q", "image.attention.query"),
    ("attn.to_k", "image.attention.key"),
    ("attn.to_v", "image.attention.value"),
    ("attn.to_out.0", "image.attention.output"),
    ("attn.norm_q", "image.attention.query_norm"),
    ("attn.norm_k", "image.attention.key_norm"),
    ("attn.add_q_proj", "text.attention.query"),
    ("attn.add_k_proj", "text.attention.key"),
    ("attn.add_v_proj", "text.attention.value"),
    ("attn.to_add_out", "text.attention.output"),
    ("attn.norm_added_q", "text.attention.query_norm"),
    ("attn.norm_added_k", "text.attention.key_norm"),
    ("attn2.to_q", "image.second_attention.query"),
    ("attn2.to_k", "image.second_attention.key"),
    ("attn2.to_v", "image.second_attention.value"),
    ("attn2.to_out.0", "image.second_attention.output"),
    ("attn2.norm_q", "image.second_attention.query_norm"),
    ("attn2.norm_k", "image.second_attention.key_norm"),
    ("ff.net.0.proj", "image.feed_forward.input"),
    ("ff.net.2", "image.feed_forward.output"),
    ("ff_context.net.0.proj", "text.feed_forward.input"),
    ("ff_context.net.2", "text.feed_forward.output"),
];

/// What an IP-Adapter that was saved with the transformer makes of an image prompt; there is none here.
const IMAGE_PROMPT: &str = "encoder_hid_proj";

/// The map for the layout that a checkpoint is in.
pub(super) fn key_map(checkpoint: &Checkpoint, config: &Sd3Config) -> KeyMap {
    let is_diffusers = checkpoint.tensors().any(|(name, _)| name.starts_with("transformer_blocks."));
    if is_diffusers { diffusers(config) } else { original(config) }
}

/// The maps of all published layouts.
pub(super) fn layouts(config: &Sd3Config) -> [(Layout, KeyMap); 2] {
    [(Layout::Original, original(config)), (Layout::Diffusers, diffusers(config))]
}

/// Stability's single-file layout.
fn original(config: &Sd3Config) -> KeyMap {
    let hidden_size = config.hidden_size();
    let mut map = KeyMap::new().rename_all(ORIGINAL);
    for (theirs, ours) in [("x_block", "image"), ("context_block", "text")] {
        let from = |name: &str| format!("joint_blocks.{{i}}.{theirs}.{name}");
        let to = |name: &str| format!("blocks.{{i}}.{ours}.{name}");
        for (fused, attention) in [("attn.qkv", "attention"), ("attn2.qkv", "second_attention")] {
            let parts = ["query", "key", "value"].map(|part| to(&format!("{attention}.{part}")));
            map = map.split(&from(fused), parts.iter().map(|part| (part.as_str(), hidden_size)));
        }
        for (name, target) in ORIGINAL_STREAM {
            map = map.rename(&from(name), &to(target));
        }
    }
    map
}

/// diffusers' layout. Where it modulates a norm without a gate, it has scale and shift in the other order.
fn diffusers(config: &Sd3Config) -> KeyMap {
    let last = config.num_layers - 1;
    let mut map = KeyMap::new()
        .ignore(IMAGE_PROMPT)
        .swap_halves("norm_out.linear", "final_modulation")
        .swap_halves(&format!("transformer_blocks.{last}.norm1_context.linear"), &format!("blocks.{last}.text.modulation"))
        .rename_all(DIFFUSERS);
    for (name, target) in DIFFUSERS_BLOCK {
        map = map.rename(&format!("transformer_blocks.{{i}}.{name}"), &format!("blocks.{{i}}.{target}"));
    }
    map
}
