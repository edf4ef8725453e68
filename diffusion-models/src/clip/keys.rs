//! Names of CLIP's weights: those of transformers, which nearly all files have, and those of OpenAI and `OpenCLIP`.

use diffusion_core::checkpoint::{Checkpoint, CheckpointError, KeyMap};

/// Prefix of the text tower's names that files carry and newer versions of transformers leave out.
pub(super) const PREFIX: &str = "text_model.";

/// What `OpenCLIP` calls the text tower where it is a module of its own.
const OPEN_CLIP_PREFIX: &str = "text.";

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

/// OpenAI's names, which `OpenCLIP` took over.
///
/// Reference: openai/CLIP `clip/model.py`; diffusers `single_file_utils.py#L334-L353` at 58eb52c.
const OPENAI: &[(&str, &str)] = &[
    ("positional_embedding", "position_embedding"),
    ("transformer.resblocks.{i}.ln_1", "layers.{i}.attention_norm"),
    ("transformer.resblocks.{i}.ln_2", "layers.{i}.feed_forward_norm"),
    ("transformer.resblocks.{i}.attn.out_proj", "layers.{i}.attention_output"),
    ("transformer.resblocks.{i}.mlp.c_fc", "layers.{i}.feed_forward_input"),
    ("transformer.resblocks.{i}.mlp.c_proj", "layers.{i}.feed_forward_output"),
    ("ln_final", "final_norm"),
];

/// Tensors that encoding texts has no use for: the vision tower, and what compares images with texts.
const WITHOUT_USE: [&str; 5] = ["embeddings.position_ids", "logit_scale", "logit_bias", "vision_model", "visual_projection"];
/// As [`WITHOUT_USE`], under the names of OpenAI. Its files also hold the causal mask and three sizes.
const OPENAI_WITHOUT_USE: [&str; 7] =
    ["logit_scale", "logit_bias", "visual", "attn_mask", "input_resolution", "context_length", "vocab_size"];

/// A tensor that tells whether names are OpenAI's.
const OPENAI_SIGN: &str = "transformer.resblocks.0.attn.in_proj_weight";
/// A tensor of every text tower, under all names.
pub(super) const TEXT_TOWER_SIGNS: [&str; 4] = [
    "encoder.layers.0.mlp.fc1.weight",
    "text_model.encoder.layers.0.mlp.fc1.weight",
    "transformer.resblocks.0.mlp.c_fc.weight",
    "text.transformer.resblocks.0.mlp.c_fc.weight",
];
/// A tensor of the layer before the last of CLIP-G, under all names.
pub(super) const BIG_G_SIGNS: [&str; 4] = [
    "encoder.layers.30.mlp.fc1.weight",
    "text_model.encoder.layers.30.mlp.fc1.weight",
    "transformer.resblocks.30.mlp.c_fc.weight",
    "text.transformer.resblocks.30.mlp.c_fc.weight",
];

/// Names of transformers, after [`PREFIX`] is taken off. `projected` tells whether the model has the text projection; files
/// without a use for it carry it all the same.
pub(super) fn key_map(projected: bool) -> KeyMap {
    with_projection(transformers_names(), projected, "projection", KeyMap::rename)
}

fn transformers_names() -> KeyMap {
    WITHOUT_USE.into_iter().fold(KeyMap::new().rename_all(TABLE), KeyMap::ignore)
}

fn openai_names(hidden_size: usize) -> KeyMap {
    let split = |map: KeyMap, kind: &str| {
        let parts = ["query", "key", "value"].map(|name| format!("layers.{{i}}.{name}.{kind}"));
        let rows = parts.each_ref().map(|part| (part.as_str(), hidden_size));
        map.split(&format!("transformer.resblocks.{{i}}.attn.in_proj_{kind}"), rows)
    };
    let map = ["weight", "bias"].into_iter().fold(KeyMap::new().rename_all(OPENAI), split);
    OPENAI_WITHOUT_USE.into_iter().fold(map, KeyMap::ignore)
}

const PROJECTION: &str = "text_projection";

fn with_projection(map: KeyMap, projected: bool, to: &str, taken: impl Fn(KeyMap, &str, &str) -> KeyMap) -> KeyMap {
    if projected { taken(map, PROJECTION, to) } else { map.ignore(PROJECTION) }
}

/// The checkpoint under the names of the encoder's parameters.
pub(super) fn renamed(checkpoint: Checkpoint, hidden_size: usize, projected: bool) -> Result<Checkpoint, CheckpointError> {
    let is_openais = |prefix: &str| checkpoint.get(&format!("{prefix}{OPENAI_SIGN}")).is_some();
    let (checkpoint, map) = match ["", OPEN_CLIP_PREFIX].into_iter().find(|prefix| is_openais(prefix)) {
        Some(prefix) => (checkpoint.without_prefix(prefix), openai_names(hidden_size)),
        None => (checkpoint.without_prefix(PREFIX), transformers_names()),
    };
    // OpenAI, and ComfyUI's node that saves encoders, have a matrix that is multiplied from the right.
    let map = match checkpoint.get(PROJECTION) {
        Some(_) => with_projection(map, projected, "projection.weight", KeyMap::transpose),
        None => with_projection(map, projected, "projection", KeyMap::rename),
    };
    checkpoint.renamed(&map)
}
