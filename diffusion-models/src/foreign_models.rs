//! Models that are not drawn with, by the names of their tensors.

/// A name, and parts of tensor names of which each tells the model, after any prefix of an all-in-one file.
pub(crate) type ForeignModel = (&'static str, &'static [&'static str]);

/// Models that share names with the families that are drawn with, and parts of such models.
///
/// References: `ComfyUI` `comfy/model_detection.py` and `comfy/sd.py` at a125cd8, and diffusers' `src/diffusers/models/` at 58eb52c
/// for its own names.
pub(crate) const RELATIVES: &[ForeignModel] = &[
    ("FLUX.2", &["double_stream_modulation_img.", "single_stream_modulation."]),
    ("the autoencoder of FLUX.2", &["bn.running_mean"]),
    ("Chroma", &["distilled_guidance_layer."]),
    ("Qwen-Image", &["txt_norm.weight"]),
    ("AuraFlow", &["double_layers.0.attn.w1q.", "joint_transformer_blocks.0."]),
    ("HunyuanVideo", &["individual_token_refiner.", "context_embedder.token_refiner."]),
    ("Hunyuan3D", &["latent_in.weight"]),
    ("an adapter for pictures (Redux)", &["redux_up."]),
    ("a ControlNet", &["controlnet_blocks.", "control_model.", "controlnet_x_embedder.", "controlnet_cond_embedding."]),
    ("an IP-Adapter", &["ip_adapter_proj_model.", "ip_adapter.", "ip_adapter_double_blocks."]),
];

/// Models that share no names with them.
pub(crate) const STRANGERS: &[ForeignModel] = &[
    ("Stable Diffusion 1, 2 or XL", &["input_blocks.0.", "down_blocks.0.resnets.0.time_emb_proj."]),
    ("Stable Cascade", &["clf.1.weight", "clip_txt_pooled_mapper."]),
    ("Hunyuan-DiT", &["mlp_t5.0.weight"]),
    ("LTX-Video", &["patchify_proj."]),
    ("PixArt", &["t_block.1.weight", "adaln_single.emb.resolution_embedder."]),
    ("PixArt or LTX-Video", &["adaln_single.emb.timestep_embedder."]),
    ("Mochi", &["t5_yproj.", "transformer_blocks.0.attn1.add_q_proj."]),
    ("Z-Image", &["cap_pad_token"]),
    ("Lumina 2", &["cap_embedder.1.", "time_caption_embed.caption_embedder."]),
    ("OmniGen 2", &["time_caption_embed.timestep_embedder."]),
    ("Wan", &["head.modulation", "condition_embedder.time_proj."]),
    ("HiDream", &["caption_projection.0.linear."]),
    ("Cosmos", &["blocks.block0.blocks.0.block.attn.", "blocks.0.mlp.layer1.weight"]),
    ("Kandinsky 5", &["visual_transformer_blocks.0."]),
    ("the autoencoder of Wan or Qwen-Image", &["decoder.middle.0.residual.0.gamma"]),
    ("UMT5, the text encoder of Wan", &["encoder.block.1.layer.0.SelfAttention.relative_attention_bias."]),
    ("a language model", &["model.layers.0.self_attn.q_proj.", "blk.0.attn_output.weight"]),
];
