//! What a file holds that is no LoRA.

use diffusion_core::checkpoint::{Checkpoint, StoredTensor};
use diffusion_core::files::Shown;

/// Names of embeddings in the files that textual inversion makes.
const EMBEDDINGS: [&str; 5] = ["emb_params", "clip_l", "clip_g", "t5xxl", "<concept>"];

/// Ends of names of whole weights, with what has them. The first that occurs counts, so that an all-in-one file is what draws in it.
const WHOLE_WEIGHTS: &[(&[&str], &str)] = &[
    (&["double_stream_modulation_img.lin.weight", "double_stream_modulation_img.linear.weight"], "a transformer of FLUX.2"),
    (
        &["double_blocks.0.img_attn.qkv.weight", "single_transformer_blocks.0.attn.to_q.weight"],
        "a transformer of FLUX.1 or a relative",
    ),
    (
        &["joint_blocks.0.x_block.attn.qkv.weight", "transformer_blocks.0.attn.add_q_proj.weight"],
        "a transformer of Stable Diffusion 3 or a relative",
    ),
    (&["input_blocks.0.0.weight", "down_blocks.0.resnets.0.time_emb_proj.weight"], "a UNet of Stable Diffusion 1, 2 or XL"),
    (&["encoder.layers.0.self_attn.q_proj.weight", "transformer.resblocks.0.attn.in_proj_weight"], "a CLIP text encoder"),
    (&["block.0.layer.0.SelfAttention.q.weight", "enc.blk.0.attn_q.weight"], "a T5 text encoder"),
    (&["decoder.mid.block_1.conv1.weight", "decoder.mid_block.resnets.0.conv1.weight"], "an autoencoder (VAE)"),
    (&["decoder.layers.0.weight", "decoder.1.weight", "3.conv.0.weight"], "a tiny autoencoder (TAESD)"),
];

/// What a file without adapters seems to hold.
pub(crate) fn what_it_is(checkpoint: &Checkpoint) -> String {
    /// A matrix of a model has more bytes than this.
    const LARGE: usize = 1 << 20;
    let names: Vec<&str> = checkpoint.tensors().map(|(name, _)| name).collect();
    if names.is_empty() {
        return "no tensors".to_owned();
    }
    let is_embedding = |(name, tensor): (&str, &StoredTensor)| {
        let is_alone = EMBEDDINGS.contains(&name) || (name.starts_with('<') && name.ends_with('>'));
        name.starts_with("bundle_emb.") || (tensor.shape().len() <= 2 && is_alone)
    };
    if checkpoint.tensors().all(is_embedding) {
        return "the embedding of a textual inversion, which stands for a word of the prompt".to_owned();
    }
    let has = |ends: &[&str]| ends.iter().any(|end| names.iter().any(|name| name.ends_with(end)));
    if let Some((_, kind)) = WHOLE_WEIGHTS.iter().find(|(ends, _)| has(ends)) {
        return format!("whole weights, those of {kind}");
    }
    let has_weights = checkpoint.tensors().any(|(name, tensor)| name.ends_with(".weight") && tensor.num_bytes() > LARGE);
    let examples = names.iter().take(2).map(|name| Shown(name).to_string()).collect::<Vec<_>>().join(", ");
    if has_weights {
        format!("whole weights, as a model does, {examples} among them")
    } else {
        format!("no adapters that are known, but {examples}")
    }
}
