//! Files of models that are not drawn with, called by their names: where a model is expected, and where one is converted.

mod common;
#[path = "common/raw_tensors.rs"]
mod raw_tensors;

use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::checkpoint::write::{Target, WriteError};
use diffusion_models::{ComponentPaths, FileKind, convert, file_kind, open_model};
use raw_tensors::{RawTensor, RawTensors};
use safetensors::tensor::Dtype;

/// Names of tensors that files of a model have, the sign among names that a family which is drawn with has too.
const FOREIGN: &[(&str, &[&str])] = &[
    ("FLUX.2", &["double_stream_modulation_img.lin.weight", "double_blocks.0.img_attn.qkv.weight"]),
    ("FLUX.2", &["double_stream_modulation_txt.linear.weight", "single_stream_modulation.linear.weight"]),
    ("the autoencoder of FLUX.2", &["bn.running_mean", "decoder.mid_block.resnets.0.conv1.weight"]),
    ("Chroma", &["distilled_guidance_layer.norms.0.scale", "double_blocks.0.img_attn.qkv.weight"]),
    ("Qwen-Image", &["txt_norm.weight", "transformer_blocks.0.attn.add_q_proj.weight"]),
    ("AuraFlow", &["joint_transformer_blocks.0.attn.add_q_proj.weight"]),
    ("HunyuanVideo", &["txt_in.individual_token_refiner.blocks.0.norm1.weight", "double_blocks.0.img_attn_qkv.weight"]),
    ("Hunyuan3D", &["latent_in.weight", "double_blocks.0.img_attn.qkv.weight"]),
    ("a ControlNet", &["controlnet_blocks.0.weight", "transformer_blocks.0.attn.add_q_proj.weight"]),
    ("an adapter for pictures", &["redux_up.weight"]),
    ("Stable Diffusion 1, 2 or XL", &["input_blocks.0.0.weight"]),
    ("Stable Cascade", &["clf.1.weight"]),
    ("Hunyuan-DiT", &["mlp_t5.0.weight"]),
    ("PixArt", &["t_block.1.weight", "blocks.0.attn.qkv.weight"]),
    ("LTX-Video", &["patchify_proj.weight", "adaln_single.emb.timestep_embedder.linear_1.bias"]),
    ("Mochi", &["t5_yproj.weight"]),
    ("Z-Image", &["cap_pad_token", "cap_embedder.1.weight"]),
    ("Lumina 2", &["cap_embedder.1.weight"]),
    ("Wan", &["head.modulation", "blocks.0.self_attn.q.weight"]),
    ("HiDream", &["caption_projection.0.linear.weight"]),
    ("the autoencoder of Wan or Qwen-Image", &["decoder.middle.0.residual.0.gamma"]),
    (
        "UMT5",
        &[
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
        ],
    ),
    ("a language model", &["model.layers.0.self_attn.q_proj.weight"]),
];

fn zeros(names: &[&str], prefix: &str) -> RawTensors {
    names.iter().map(|name| (format!("{prefix}{name}"), RawTensor::zeros(Dtype::BF16, &[4, 4]))).collect()
}

#[test]
fn models_that_are_not_drawn_with_are_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (name, tensors) in FOREIGN {
        for prefix in ["", "model.diffusion_model."] {
            raw_tensors::write(&path, &zeros(tensors, prefix));
            let said = open_model(&path, &ComponentPaths::new()).map(drop).unwrap_err().to_string();
            assert!(said.contains("model.safetensors holds ") && said.contains(&format!("holds {name}")), "{name}: {said}");
            assert!(said.contains("not drawn with"), "{said}");

            let checkpoint = Checkpoint::open(&path).unwrap();
            assert!(matches!(file_kind(&checkpoint), FileKind::OtherModel(_)));
            let new = folder.path().join("new.gguf");
            let error = convert(&checkpoint, &new, Target::Q8_0, &mut |_| {}).unwrap_err();
            assert!(matches!(error, WriteError::OtherModel { .. }) && error.to_string().contains(name), "{error}");
            assert!(!new.exists());
        }
    }
}

/// A LoRA for such a model is a LoRA; a component that is drawn with keeps its name.
#[test]
fn signs_of_foreign_models_are_not_found_in_what_is_drawn_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    raw_tensors::write(&path, &zeros(&["distilled_guidance_layer.in_proj.lora_A.weight"], ""));
    assert_eq!(file_kind(&Checkpoint::open(&path).unwrap()), FileKind::Lora);
    for (list, kind) in [
        ("autoencoder-kl-16.diffusers", FileKind::AutoencoderKl),
        ("autoencoder-kl-16.original", FileKind::AutoencoderKl),
        ("clip-g.with-projection", FileKind::Clip),
        ("clip-l.text-model", FileKind::Clip),
        ("t5-v1_1-xxl.encoder", FileKind::T5),
        ("flux1-dev.transformer.diffusers", FileKind::Denoiser("a FLUX.1 transformer")),
        ("flux1-dev.transformer.original", FileKind::Denoiser("a FLUX.1 transformer")),
        ("sd3.5-medium.transformer.diffusers", FileKind::Denoiser("a Stable Diffusion 3 transformer")),
        ("sd3.5-large.transformer.original", FileKind::Denoiser("a Stable Diffusion 3 transformer")),
    ] {
        common::write_hollow(&path, &common::manifest(list));
        assert_eq!(file_kind(&Checkpoint::open(&path).unwrap()), kind, "{list}");
    }
}
