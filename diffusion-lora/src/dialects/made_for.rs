//! Which model a LoRA was made for, told by the names of its modules: advice for when it does not fit.

/// Parts of names, with the models that have such modules. The first that occurs counts.
const SIGNS: &[(&[&str], &str)] = &[
    (
        &["input_blocks", "output_blocks", "middle_block", "down_blocks", "up_blocks", "mid_block"],
        "a UNet: SDXL, or Stable Diffusion 1 or 2",
    ),
    (&["double_stream_modulation", "single_stream_modulation"], "FLUX.2"),
    (&["img_attn_qkv", "img_attn.qkv", "single_transformer_blocks", "single_blocks", "double_blocks"], "FLUX.1 or a relative"),
    (&["joint_blocks", "x_block", "context_block", "attn2.to_q"], "Stable Diffusion 3"),
    (&["img_mod.1", "img_mod_1", "txt_mod.1", "txt_mod_1"], "Qwen-Image"),
    (&["cross_attn.", "cross_attn_", "ffn.0", "ffn_0"], "Wan or another video model"),
    (&["noise_refiner", "context_refiner"], "Lumina or Z-Image"),
    (&["caption_projection", "adaln_single"], "PixArt, LTX or a relative"),
];

/// The model that a LoRA with these module names seems to be made for.
pub(crate) fn made_for<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    let occurs = |sign: &&str| names.clone().any(|name| name.contains(*sign));
    SIGNS.iter().find(|(signs, _)| signs.iter().any(&occurs)).map(|(_, model)| *model)
}
