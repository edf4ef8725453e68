//! Names of the transformer's weights: Black Forest Labs' single files, and diffusers.
//!
//! The module keeps queries, keys, values and the feed-forward input apart, so that the rows of fused tensors are plain
//! slices of the mapped file, and nothing has to be copied for either layout.

use diffusion_core::checkpoint::{Checkpoint, KeyMap, Layout};

use super::config::FluxConfig;

const ORIGINAL: &[(&str, &str)] = &[
    ("img_in", "image_projection"),
    ("txt_in", "text_projection"),
    ("time_in.in_layer", "timestep_embedding.input"),
    ("time_in.out_layer", "timestep_embedding.output"),
    ("guidance_in.in_layer", "guidance_embedding.input"),
    ("guidance_in.out_layer", "guidance_embedding.output"),
    ("vector_in.in_layer", "pooled_embedding.input"),
    ("vector_in.out_layer", "pooled_embedding.output"),
    ("final_layer.adaLN_modulation.1", "final_modulation"),
    ("final_layer.linear", "final_projection"),
    ("single_blocks.{i}.modulation.lin", "single_blocks.{i}.modulation"),
    ("single_blocks.{i}.linear2", "single_blocks.{i}.output"),
    ("single_blocks.{i}.norm.query_norm.scale", "single_blocks.{i}.query_norm.weight"),
    ("single_blocks.{i}.norm.key_norm.scale", "single_blocks.{i}.key_norm.weight"),
];

/// Names in one stream of a double block; files put `img_` or `txt_` before them.
const ORIGINAL_STREAM: &[(&str, &str)] = &[
    ("mod.lin", "modulation"),
    ("attn.proj", "attention_output"),
    ("attn.norm.query_norm.scale", "query_norm.weight"),
    ("attn.norm.key_norm.scale", "key_norm.weight"),
    ("mlp.0", "feed_forward.input"),
    ("mlp.2", "feed_forward.output"),
];

const DIFFUSERS: &[(&str, &str)] = &[
    ("x_embedder", "image_projection"),
    ("context_embedder", "text_projection"),
    ("time_text_embed.timestep_embedder.linear_1", "timestep_embedding.input"),
    ("time_text_embed.timestep_embedder.linear_2", "timestep_embedding.output"),
    ("time_text_embed.guidance_embedder.linear_1", "guidance_embedding.input"),
    ("time_text_embed.guidance_embedder.linear_2", "guidance_embedding.output"),
    ("time_text_embed.text_embedder.linear_1", "pooled_embedding.input"),
    ("time_text_embed.text_embedder.linear_2", "pooled_embedding.output"),
    ("proj_out", "final_projection"),
    ("transformer_blocks.{i}.norm1.linear", "double_blocks.{i}.image.modulation"),
    ("transformer_blocks.{i}.norm1_context.linear", "double_blocks.{i}.text.modulation"),
    ("transformer_blocks.{i}.attn.to_q", "double_blocks.{i}.image.query"),
    ("transformer_blocks.{i}.attn.to_k", "double_blocks.{i}.image.key"),
    ("transformer_blocks.{i}.attn.to_v", "double_blocks.{i}.image.value"),
    ("transformer_blocks.{i}.attn.to_out.0", "double_blocks.{i}.image.attention_output"),
    ("transformer_blocks.{i}.attn.norm_q", "double_blocks.{i}.image.query_norm"),
    ("transformer_blocks.{i}.attn.norm_k", "double_blocks.{i}.image.key_norm"),
    ("transformer_blocks.{i}.attn.add_q_proj", "double_blocks.{i}.text.query"),
    ("transformer_blocks.{i}.attn.add_k_proj", "double_blocks.{i}.text.key"),
    ("transformer_blocks.{i}.attn.add_v_proj", "double_blocks.{i}.text.value"),
    ("transformer_blocks.{i}.attn.to_add_out", "double_blocks.{i}.text.attention_output"),
    ("transformer_blocks.{i}.attn.norm_added_q", "double_blocks.{i}.text.query_norm"),
    ("transformer_blocks.{i}.attn.norm_added_k", "double_blocks.{i}.text.key_norm"),
    ("transformer_blocks.{i}.ff.net.0.proj", "double_blocks.{i}.image.feed_forward.input"),
    ("transformer_blocks.{i}.ff.net.2", "double_blocks.{i}.image.feed_forward.output"),
    ("transformer_blocks.{i}.ff_context.net.0.proj", "double_blocks.{i}.text.feed_forward.input"),
    ("transformer_blocks.{i}.ff_context.net.2", "double_blocks.{i}.text.feed_forward.output"),
    ("single_transformer_blocks.{i}.norm.linear", "single_blocks.{i}.modulation"),
    ("single_transformer_blocks.{i}.attn.to_q", "single_blocks.{i}.query"),
    ("single_transformer_blocks.{i}.attn.to_k", "single_blocks.{i}.key"),
    ("single_transformer_blocks.{i}.attn.to_v", "single_blocks.{i}.value"),
    ("single_transformer_blocks.{i}.attn.norm_q", "single_blocks.{i}.query_norm"),
    ("single_transformer_blocks.{i}.attn.norm_k", "single_blocks.{i}.key_norm"),
    ("single_transformer_blocks.{i}.proj_mlp", "single_blocks.{i}.feed_forward_input"),
    ("single_transformer_blocks.{i}.proj_out", "single_blocks.{i}.output"),
];

/// What an IP-Adapter that was saved with the transformer makes of an image prompt; there is none here.
const IMAGE_PROMPT: &str = "encoder_hid_proj";

/// The map for the layout that a checkpoint is in.
pub(super) fn key_map(checkpoint: &Checkpoint, config: &FluxConfig) -> KeyMap {
    let is_diffusers = checkpoint.get("x_embedder.weight").is_some();
    if is_diffusers { diffusers() } else { original(config) }
}

/// The maps of all published layouts.
pub(super) fn layouts(config: &FluxConfig) -> [(Layout, KeyMap); 2] {
    [(Layout::Original, original(config)), (Layout::Diffusers, diffusers())]
}

/// Black Forest Labs' single-file layout.
fn original(config: &FluxConfig) -> KeyMap {
    let hidden_size = config.hidden_size();
    let single =
        [("query", hidden_size), ("key", hidden_size), ("value", hidden_size), ("feed_forward_input", config.inner_size())];
    let single = single.map(|(part, rows)| (format!("single_blocks.{{i}}.{part}"), rows));
    let mut map = KeyMap::new()
        .rename_all(ORIGINAL)
        .split("single_blocks.{i}.linear1", single.iter().map(|(part, rows)| (part.as_str(), *rows)));
    for (theirs, ours) in [("img", "image"), ("txt", "text")] {
        let from = |name: &str| format!("double_blocks.{{i}}.{theirs}_{name}");
        let to = |name: &str| format!("double_blocks.{{i}}.{ours}.{name}");
        let parts = ["query", "key", "value"].map(to);
        map = map.split(&from("attn.qkv"), parts.iter().map(|part| (part.as_str(), hidden_size)));
        for (name, target) in ORIGINAL_STREAM {
            map = map.rename(&from(name), &to(target));
        }
    }
    map
}

/// diffusers' layout. It has scale and shift of the final norm in the other order.
fn diffusers() -> KeyMap {
    KeyMap::new().ignore(IMAGE_PROMPT).swap_halves("norm_out.linear", "final_modulation").rename_all(DIFFUSERS)
}
