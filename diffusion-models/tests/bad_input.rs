//! What is wrong with a model's files or with settings is said, before work is spent on it: which file, which tensor, what
//! was expected and what was found.

mod common;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/raw_tensors.rs"]
mod raw_tensors;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use common::copy_folder;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL, TRANSFORMER, VAE};
use diffusion_models::{ComponentPaths, Pipeline, Settings, Start, ignore, open_model};
use diffusion_schedulers::guidance::SkipLayerGuidance;
use fixture::{Fixture, in_both_layouts, pipeline};
use raw_tensors::{RawTensor, RawTensors};
use safetensors::tensor::Dtype;
use tempfile::TempDir;

/// An error and its causes, as programs print them.
fn text(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", text(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// What is said of a model that must be refused.
#[track_caller]
fn refusal(path: &Path, paths: &ComponentPaths) -> String {
    // Not `expect_err`, which would print megabytes of vocabulary.
    match open_model(path, paths) {
        Ok(_) => panic!("{} is accepted", path.display()),
        Err(error) => text(&error),
    }
}

/// Fails unless the model is refused in words that contain all of `words`.
#[track_caller]
fn assert_refused(path: &Path, paths: &ComponentPaths, words: &[&str]) {
    let said = refusal(path, paths);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// A copy of a fixture's folder that a test can damage.
struct Damaged {
    folder: TempDir,
}

impl Damaged {
    fn copy_of(fixture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&common::fixture(fixture), folder.path());
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    #[track_caller]
    fn assert_refused(&self, words: &[&str]) {
        assert_refused(self.folder.path(), &ComponentPaths::new(), words);
    }

    /// Replace `from` by `to` in a text file.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let before = fs::read_to_string(self.path(file)).unwrap();
        assert!(before.contains(from), "{file} has no {from}");
        fs::write(self.path(file), before.replace(from, to)).unwrap();
    }
}

/// A single file in a folder of its own, with the fixture's configurations.
fn single_file(contents: &[u8]) -> (TempDir, PathBuf, ComponentPaths) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, contents).unwrap();
    (folder, path, Fixture::new("sd3").components())
}

fn original() -> Vec<u8> {
    fs::read(common::fixture("sd3/original.safetensors")).unwrap()
}

#[test]
fn the_undamaged_fixtures_are_accepted() {
    for (fixture, layout) in in_both_layouts() {
        fixture.open(layout).unwrap();
    }
}

#[test]
fn a_truncated_file_is_refused_with_its_size() {
    let whole = original();
    for size in [0, 1, 7, 8, 9, 1000, whole.len() / 2, whole.len() - 1] {
        let (_folder, path, paths) = single_file(&whole[..size]);
        assert_refused(&path, &paths, &["model.safetensors", "not a usable safetensors file", &format!("({size} bytes)")]);
    }
}

#[test]
fn a_file_with_something_after_its_end_is_refused() {
    let (_folder, path, paths) = single_file(&[original(), vec![0; 3]].concat());
    assert_refused(&path, &paths, &["model.safetensors", "bytes, and"]);
}

#[test]
fn a_header_of_absurd_length_is_refused() {
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 99_999_999, 2] {
        let mut file = original();
        file[..8].copy_from_slice(&length.to_le_bytes());
        let (_folder, path, paths) = single_file(&file);
        assert_refused(&path, &paths, &["model.safetensors", "its header is"]);
    }
}

/// A file with this header and eight bytes of data.
fn with_header(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat()
}

#[test]
fn a_header_that_lies_about_places_is_refused() {
    let beyond = r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}"#;
    let overlapping = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#;
    let backwards = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#;
    let too_short = r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}"#;
    let overflowing = r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 2], "data_offsets": [0, 8]}}"#;
    let unknown_type = r#"{"a": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}"#;
    let not_json = "weights";
    for (header, words) in [
        (beyond, "its tensors take 16 bytes, and 8 are there"),
        (overlapping, "invalid offset for tensor `b`"),
        (backwards, "invalid offset for tensor `a`"),
        (too_short, "invalid shape, data type, or offset"),
        (overflowing, "overflow"),
        (unknown_type, "F33"),
        (not_json, "its header is malformed"),
    ] {
        let (_folder, path, paths) = single_file(&with_header(header));
        assert_refused(&path, &paths, &["model.safetensors", "not a usable safetensors file", words]);
    }
}

#[test]
fn a_header_whose_sizes_add_up_beyond_all_numbers_is_refused() {
    let each: u64 = (1 << 61) - 8;
    let entry =
        |i: u64| format!(r#""{i}": {{"dtype": "U8", "shape": [{each}], "data_offsets": [{}, {}]}}"#, i * each, (i + 1) * each);
    let header = format!("{{{}}}", (0..8).map(entry).collect::<Vec<_>>().join(", "));
    let (_folder, path, paths) = single_file(&with_header(&header));
    assert_refused(&path, &paths, &["model.safetensors", "not a usable safetensors file"]);
}

/// The single file with one tensor changed, removed or added.
fn damaged_tensors(damage: impl FnOnce(&mut RawTensors)) -> (TempDir, PathBuf, ComponentPaths) {
    let mut tensors = raw_tensors::read(&Checkpoint::open(&common::fixture("sd3/original.safetensors")).unwrap());
    damage(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    raw_tensors::write(&path, &tensors);
    (folder, path, Fixture::new("sd3").components())
}

const SOME_WEIGHT: &str = "model.diffusion_model.joint_blocks.1.x_block.mlp.fc1.weight";

#[test]
fn a_weight_of_integers_is_refused() {
    let (_folder, path, paths) = damaged_tensors(|tensors| {
        tensors.insert(SOME_WEIGHT.to_owned(), RawTensor::zeros(Dtype::I64, &[112, 28]));
    });
    assert_refused(&path, &paths, &["model.safetensors", SOME_WEIGHT, "I64", "floating-point"]);
}

#[test]
fn a_weight_of_another_shape_is_refused() {
    let (_folder, path, paths) = damaged_tensors(|tensors| {
        tensors.insert(SOME_WEIGHT.to_owned(), RawTensor::zeros(Dtype::BF16, &[28, 112]));
    });
    assert_refused(&path, &paths, &["model.safetensors", SOME_WEIGHT, "[28, 112]", "[112, 28]"]);
    let fused = "model.diffusion_model.joint_blocks.1.x_block.attn.qkv.weight";
    let (_folder, path, paths) = damaged_tensors(|tensors| {
        tensors.insert(fused.to_owned(), RawTensor::zeros(Dtype::BF16, &[83, 28]));
    });
    assert_refused(&path, &paths, &["model.safetensors", fused, "83", "84"]);
}

#[test]
fn a_scalar_or_an_empty_tensor_in_place_of_a_weight_is_refused() {
    for name in [
        SOME_WEIGHT,
        "model.diffusion_model.joint_blocks.1.x_block.attn.qkv.weight",
        "model.diffusion_model.x_embedder.proj.weight",
        "model.diffusion_model.pos_embed",
        "model.diffusion_model.context_embedder.weight",
        "first_stage_model.decoder.conv_in.weight",
        "first_stage_model.encoder.conv_out.weight",
        "text_encoders.t5xxl.transformer.shared.weight",
    ] {
        for shape in [&[][..], &[0, 28], &[1 << 62, 0, 2, 2]] {
            let (_folder, path, mut paths) = damaged_tensors(|tensors| {
                tensors.insert(name.to_owned(), RawTensor::zeros(Dtype::BF16, shape));
            });
            assert_refused(&path, &paths, &["model.safetensors", name.rsplit_once('.').unwrap().0.rsplit('.').next().unwrap()]);
            // Without configurations sizes are told from the tensors, these too.
            paths.config = None;
            assert_refused(&path, &paths, &["model.safetensors"]);
        }
    }
}

#[test]
fn every_missing_tensor_is_named() {
    let whole = Checkpoint::open(&common::fixture("sd3/original.safetensors")).unwrap();
    let tensors = raw_tensors::read(&whole);
    let (folder, paths) = (tempfile::tempdir().unwrap(), Fixture::new("sd3").components());
    let path = folder.path().join("model.safetensors");
    for name in tensors.keys() {
        let mut without = tensors.clone();
        without.remove(name);
        raw_tensors::write(&path, &without);
        let said = refusal(&path, &paths);
        let named = said.contains("weights are missing (") || said.contains("holds") && said.contains("expected");
        assert!(named && said.contains("model.safetensors"), "{name}: {said}");
    }
}

#[test]
fn every_missing_tensor_of_a_folder_is_refused() {
    for component in ["transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae"] {
        let damaged = Damaged::copy_of("sd3");
        let folder = damaged.path(component);
        let path = if component.starts_with("text") {
            folder.join("model.safetensors")
        } else {
            folder.join("diffusion_pytorch_model.safetensors")
        };
        let tensors = raw_tensors::read(&Checkpoint::open(&path).unwrap());
        for name in tensors.keys() {
            let mut without = tensors.clone();
            without.remove(name);
            raw_tensors::write(&path, &without);
            damaged.assert_refused(&[component]);
        }
    }
}

#[test]
fn an_unknown_tensor_is_refused() {
    for name in [
        "model.diffusion_model.joint_blocks.1.x_block.mlp.fc3.weight",
        "model.diffusion_model.joint_blocks.4.x_block.mlp.fc1.weight",
        "controlnet.weight",
    ] {
        let (_folder, path, paths) = damaged_tensors(|tensors| {
            tensors.insert(name.to_owned(), RawTensor::zeros(Dtype::BF16, &[28]));
        });
        assert_refused(&path, &paths, &["model.safetensors", name.trim_start_matches("model.diffusion_model.")]);
    }
}

const INDEX: &str = "transformer/diffusion_pytorch_model.safetensors.index.json";
const SECOND_SHARD: &str = "diffusion_pytorch_model-00002-of-00002.safetensors";

#[test]
fn a_missing_shard_is_named() {
    let damaged = Damaged::copy_of("sd3-large");
    fs::remove_file(damaged.path("transformer").join(SECOND_SHARD)).unwrap();
    damaged.assert_refused(&["safetensors.index.json", SECOND_SHARD, "not beside it"]);
}

#[test]
fn a_tensor_that_its_shard_lacks_is_named() {
    let damaged = Damaged::copy_of("sd3-large");
    damaged.edit(INDEX, "\"proj_out.weight\"", "\"proj_in.weight\"");
    damaged.assert_refused(&["safetensors.index.json", "proj_in.weight", "does not hold it"]);
}

#[test]
fn a_truncated_shard_is_named() {
    let damaged = Damaged::copy_of("sd3-large");
    let shard = damaged.path("transformer").join(SECOND_SHARD);
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() / 2]).unwrap();
    damaged.assert_refused(&[SECOND_SHARD, "truncated"]);
}

#[test]
fn a_malformed_index_is_named() {
    let damaged = Damaged::copy_of("sd3-large");
    fs::write(damaged.path(INDEX), "{\"weight_map\": 3}").unwrap();
    damaged.assert_refused(&["safetensors.index.json", "shard index"]);
}

#[test]
fn a_folder_without_weights_is_named() {
    let damaged = Damaged::copy_of("sd3");
    fs::remove_file(damaged.path("vae/diffusion_pytorch_model.safetensors")).unwrap();
    damaged.assert_refused(&["vae", "diffusion_pytorch_model.safetensors"]);
}

#[test]
fn what_holds_no_model_that_is_drawn_with_is_called_by_its_name() {
    let paths = ComponentPaths::new();
    let hollow = |name: &str| [(name.to_owned(), RawTensor::zeros(Dtype::F16, &[4, 4]))].into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (name, kind) in [
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", "a LoRA"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", "a LoRA"),
        ("transformer.transformer_blocks.0.attn.add_q_proj.lora_B.weight", "a LoRA"),
        ("model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion 1, 2 or XL"),
        ("text_model.encoder.layers.0.self_attn.q_proj.weight", "a CLIP text encoder"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5 encoder"),
        ("decoder.mid.block_1.conv1.weight", "an autoencoder"),
        ("double_stream_modulation_img.lin.weight", "FLUX.2"),
        ("distilled_guidance_layer.layers.0.in_layer.weight", "Chroma"),
        ("something.else", "no model that is known"),
    ] {
        raw_tensors::write(&path, &hollow(name));
        assert_refused(
            &path,
            &paths,
            &["model.safetensors", kind, "expected a Stable Diffusion 3 transformer or a FLUX.1 transformer"],
        );
    }
}

/// Their files have the blocks of FLUX.1 by the same names.
#[test]
fn relatives_of_flux_are_called_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (names, kind) in [
        (["double_stream_modulation_img.lin.weight", "double_blocks.0.img_attn.qkv.weight"], "FLUX.2"),
        (["double_stream_modulation_img.linear.weight", "single_transformer_blocks.0.attn.to_out.weight"], "FLUX.2"),
        (["distilled_guidance_layer.in_proj.weight", "double_blocks.0.img_attn.qkv.weight"], "Chroma"),
        (["distilled_guidance_layer.in_proj.weight", "single_transformer_blocks.0.attn.to_q.weight"], "Chroma"),
    ] {
        let tensors = names.map(|name| (name.to_owned(), RawTensor::zeros(Dtype::BF16, &[4, 4])));
        raw_tensors::write(&path, &tensors.into());
        assert_refused(&path, &ComponentPaths::new(), &["model.safetensors", kind, "expected"]);
        let paths = ComponentPaths::new().with(TRANSFORMER, &path);
        assert_refused(&common::fixture("flux-dev"), &paths, &[kind, "expected a FLUX.1 transformer"]);
    }
}

#[test]
fn a_component_in_place_of_another_is_called_by_its_name() {
    let fixture = Fixture::new("sd3-large");
    let [clip_g, t5, vae] = ["text_encoder_2", "text_encoder_3", "vae"].map(|folder| fixture.path(folder));
    let model = fixture.path("original.safetensors");
    assert_refused(&model, &fixture.components().with(CLIP_L, t5), &["text_encoder_3", "a T5 encoder", "CLIP-L"]);
    assert_refused(&model, &fixture.components().with(T5XXL, clip_g), &["text_encoder_2", "a CLIP text encoder", "T5"]);
    assert_refused(&model, &fixture.components().with(CLIP_G, vae), &["vae", "an autoencoder", "CLIP-G"]);
    let lora = tempfile::tempdir().unwrap();
    let lora = lora.path().join("nothing.safetensors");
    assert_refused(&model, &fixture.components().with(VAE, lora), &["nothing.safetensors", "cannot open"]);
}

#[test]
fn text_encoders_of_another_width_are_refused() {
    // Parts of two fixtures, each whole in itself with its configuration.
    for (folder, width) in [("text_encoder", "20"), ("text_encoder_2", "32"), ("text_encoder_3", "56")] {
        let damaged = Damaged::copy_of("sd3-large");
        fs::remove_dir_all(damaged.path(folder)).unwrap();
        fs::create_dir(damaged.path(folder)).unwrap();
        copy_folder(&common::fixture("sd3").join(folder), &damaged.path(folder));
        damaged.assert_refused(&["text_encoder", "a text encoder of width", "which the transformer takes"]);
        assert!(folder == "text_encoder" || refusal(&damaged.path(""), &ComponentPaths::new()).contains(width));
    }
}

#[test]
fn an_autoencoder_of_other_latents_is_refused() {
    let damaged = Damaged::copy_of("sd3");
    damaged.edit("vae/config.json", "\"latent_channels\": 16", "\"latent_channels\": 4");
    damaged.assert_refused(&["vae", "4 channels", "16 channels for 8 x 8 pixels"]);
}

#[test]
fn a_tiny_autoencoder_is_checked_before_it_is_needed() {
    let fixture = Fixture::new("sd3");
    let decoder = common::asset("taesd3/taesd3_decoder.safetensors");
    let with = |vae: PathBuf| ComponentPaths::new().with(VAE, vae);
    open_model(&fixture.path(""), &with(decoder.clone())).unwrap();
    let encoder = common::asset("taesd3/taesd3_encoder.safetensors");
    assert_refused(&fixture.path(""), &with(encoder), &["taesd3_encoder.safetensors", "tiny autoencoder", "missing"]);

    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.safetensors");
    let mut tensors = raw_tensors::read(&Checkpoint::open(&decoder).unwrap());
    let (name, _) = tensors.pop_last().unwrap();
    raw_tensors::write(&damaged, &tensors);
    assert_refused(&fixture.path(""), &with(damaged), &["damaged.safetensors", "1 weights are missing"]);
    assert!(!name.is_empty());
}

#[test]
fn a_model_without_text_encoders_asks_for_them() {
    let fixture = Fixture::new("sd3-large");
    let paths = ComponentPaths::new().with_config(fixture.path(""));
    assert_refused(&fixture.path("original.safetensors"), &paths, &["original.safetensors", "CLIP-L, CLIP-G, T5"]);
}

#[test]
fn a_model_without_autoencoder_asks_for_it() {
    let fixture = Fixture::new("sd3");
    let transformer = fixture.path("transformer/diffusion_pytorch_model.safetensors");
    let with_config = ComponentPaths::new().with_config(fixture.path(""));
    let paths = fixture.text_encoders().into_iter().fold(with_config, |paths, (id, path)| paths.with(id, path));
    assert_refused(&transformer, &paths, &["holds no autoencoder"]);
}

#[test]
fn a_folder_that_is_no_pipeline_is_named() {
    let fixture = Fixture::new("sd3");
    assert_refused(&fixture.path("transformer"), &ComponentPaths::new(), &["transformer", "model_index.json"]);
    let nowhere = fixture.path("no-such-file.safetensors");
    assert_refused(&nowhere, &ComponentPaths::new(), &["no-such-file.safetensors", "cannot open", "No such file"]);
}

#[test]
fn configurations_that_are_not_there_are_named() {
    let fixture = Fixture::new("sd3");
    let paths = ComponentPaths::new().with_config(fixture.path("nowhere"));
    assert_refused(&fixture.path("original.safetensors"), &paths, &["nowhere", "config.json"]);
    for file in [
        "transformer/config.json",
        "text_encoder/config.json",
        "text_encoder_3/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
    ] {
        let damaged = Damaged::copy_of("sd3");
        fs::remove_file(damaged.path(file)).unwrap();
        damaged.assert_refused(&[file]);
    }
}

#[test]
fn a_miniature_without_configurations_is_refused() {
    for name in ["sd3", "sd3-medium"] {
        let fixture = Fixture::new(name);
        let mut paths = fixture.components();
        paths.config = None;
        assert_refused(&fixture.path("original.safetensors"), &paths, &["original.safetensors"]);
    }
}

#[test]
fn a_malformed_configuration_is_named() {
    for file in [
        "model_index.json",
        "transformer/config.json",
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "text_encoder_3/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "tokenizer_3/tokenizer.json",
    ] {
        for contents in
            [&b"{\"num_layers\":"[..], b"", b"[1]", b"\xff\xfe", b"{\"_class_name\": 5, \"model_max_length\": \"long\"}"]
        {
            let damaged = Damaged::copy_of("sd3");
            fs::write(damaged.path(file), contents).unwrap();
            damaged.assert_refused(&[file]);
        }
    }
}

#[test]
fn sizes_in_a_configuration_that_cannot_be_are_refused() {
    let numbers = |file: &'static str, fields: &'static [&'static str]| fields.iter().map(move |field| (file, *field));
    let all = numbers(
        "transformer/config.json",
        &[
            "attention_head_dim",
            "in_channels",
            "joint_attention_dim",
            "num_attention_heads",
            "num_layers",
            "patch_size",
            "pooled_projection_dim",
            "pos_embed_max_size",
        ],
    )
    .chain(numbers(
        "text_encoder/config.json",
        &[
            "hidden_size",
            "intermediate_size",
            "max_position_embeddings",
            "num_attention_heads",
            "num_hidden_layers",
            "vocab_size",
        ],
    ))
    .chain(numbers(
        "text_encoder_3/config.json",
        &["d_ff", "d_kv", "d_model", "num_heads", "num_layers", "relative_attention_num_buckets", "vocab_size"],
    ))
    .chain(numbers("vae/config.json", &["latent_channels", "layers_per_block", "norm_num_groups"]));
    let damaged = Damaged::copy_of("sd3");
    for (file, field) in all {
        let path = damaged.path(file);
        let good = fs::read_to_string(&path).unwrap();
        for value in ["0", "1000000000", "18446744073709551615", "-1", "2.5", "null", "\"many\""] {
            let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
            json[field] = serde_json::from_str(value).unwrap();
            fs::write(&path, json.to_string()).unwrap();
            println!("{file}: {field} = {value}");
            damaged.assert_refused(&[file.split('/').next().unwrap()]);
        }
        fs::write(path, good).unwrap();
    }
}

#[test]
fn what_a_configuration_asks_for_and_nobody_has_is_refused() {
    for (file, from, to, words) in [
        ("transformer/config.json", "\"rms_norm\"", "\"layer_norm\"", ["qk_norm", "layer_norm"]),
        ("transformer/config.json", "\"out_channels\": 16", "\"out_channels\": 32", ["out_channels", "32"]),
        (
            "transformer/config.json",
            "\"caption_projection_dim\": 28",
            "\"caption_projection_dim\": 30",
            ["caption_projection_dim", "30"],
        ),
        ("text_encoder/config.json", "quick_gelu", "relu", ["text_encoder/config.json", "relu"]),
        ("text_encoder_3/config.json", "gated-gelu", "relu", ["feed_forward_proj", "relu"]),
        ("vae/config.json", "\"silu\"", "\"relu\"", ["act_fn", "relu"]),
        ("scheduler/scheduler_config.json", "FlowMatchEulerDiscreteScheduler", "DDIMScheduler", ["_class_name", "DDIMScheduler"]),
        (
            "scheduler/scheduler_config.json",
            "\"use_dynamic_shifting\": false",
            "\"use_dynamic_shifting\": true",
            ["use_dynamic_shifting", "false"],
        ),
        ("scheduler/scheduler_config.json", "\"shift\": 3.0", "\"shift\": -3.0", ["shift", "-3"]),
    ] {
        let damaged = Damaged::copy_of("sd3");
        damaged.edit(file, from, to);
        damaged.assert_refused(&words);
    }
}

#[test]
fn a_missing_tokenizer_is_named() {
    for (folder, vocabulary) in [("tokenizer", "vocab.json"), ("tokenizer_2", "merges.txt"), ("tokenizer_3", "tokenizer.json")] {
        let damaged = Damaged::copy_of("sd3");
        let file = Path::new(folder).join(vocabulary);
        fs::remove_file(damaged.path("").join(&file)).unwrap();
        damaged.assert_refused(&[file.to_str().unwrap()]);
        fs::remove_dir_all(damaged.path(folder)).unwrap();
        damaged.assert_refused(&[folder]);
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_encoder_is_refused() {
    let fixture = Fixture::new("sd3");
    // Configurations without tokenizers: the published ones take their place, which have fifty thousand entries.
    let damaged = Damaged::copy_of("sd3");
    for folder in ["tokenizer", "tokenizer_2", "tokenizer_3"] {
        fs::remove_dir_all(damaged.path(folder)).unwrap();
    }
    let paths = ComponentPaths::new().with_config(damaged.path(""));
    assert_refused(&fixture.path("original.safetensors"), &paths, &["tokenizer", "49408", "740"]);
}

#[test]
fn a_transformer_of_another_family_is_called_by_its_name() {
    let flux = common::fixture("flux-dev");
    for file in ["original.safetensors", "transformer/diffusion_pytorch_model.safetensors"] {
        let paths = ComponentPaths::new().with(TRANSFORMER, flux.join(file));
        assert_refused(&common::fixture("sd3"), &paths, &[file, "a FLUX.1 transformer", "a Stable Diffusion 3 transformer"]);
    }
    let damaged = Damaged::copy_of("sd3");
    damaged.edit("model_index.json", "StableDiffusion3Pipeline", "StableDiffusionXLPipeline");
    damaged.assert_refused(&[
        "model_index.json",
        "StableDiffusionXLPipeline",
        "one of Stable Diffusion 3: StableDiffusion3Pipeline",
    ]);
}

fn sd3() -> (Fixture, Pipeline) {
    let fixture = Fixture::new("sd3");
    let pipeline = fixture.pipeline();
    (fixture, pipeline)
}

#[test]
fn settings_out_of_range_are_refused() {
    let (fixture, pipeline) = sd3();
    let good = fixture.settings();
    pipeline.check(&good).unwrap();
    let skip = |layer| Some(SkipLayerGuidance::of_layers(vec![layer]));
    let cases = [
        (Settings { width: 100, ..good.clone() }, ["100 x 48", "multiples of 16"]),
        (Settings { height: 0, ..good.clone() }, ["96 x 0", "multiples of 16"]),
        (Settings { width: 256, ..good.clone() }, ["256 x 48", "240"]),
        (Settings { height: usize::MAX - 15, ..good.clone() }, ["an image of 96", "240"]),
        (Settings { num_steps: 0, ..good.clone() }, ["at least", "one step"]),
        (Settings { guidance_scale: f64::NAN, ..good.clone() }, ["guidance scale", "NaN"]),
        (Settings { guidance_scale: f64::INFINITY, ..good.clone() }, ["guidance scale", "inf"]),
        (Settings { max_sequence_length: 0, ..good.clone() }, ["maximum sequence length", "0"]),
        (Settings { skip_layers: skip(4), ..good.clone() }, ["layer to skip is 4", "below 4"]),
    ];
    for (settings, words) in cases {
        let said = text(&pipeline.check(&settings).unwrap_err());
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
}

#[test]
fn latents_that_are_no_numbers_name_the_step() {
    let (fixture, mut pipeline) = sd3();
    let settings = fixture.settings();
    let noise = fixture.tensor::<4>("noise") * f32::NAN;
    let result = pipeline.denoise(&fixture.prompt(), &Start::from_noise(noise), &settings, &mut ignore);
    let said = text(&result.unwrap_err());
    assert!(said.contains("the latents before the step is not finite in step 1 of 5"), "{said}");
    // Finite numbers that no float can square.
    let noise = Tensor::full(pipeline.latent_shape(&settings), 3e38, &Device::flex());
    let result = pipeline.denoise(&fixture.prompt(), &Start::from_noise(noise), &settings, &mut ignore);
    assert!(text(&result.unwrap_err()).contains("not finite in step"));
}

#[test]
fn a_weight_that_is_no_number_names_its_block() {
    let fixture = Fixture::new("sd3");
    let damaged = Damaged::copy_of("sd3");
    let path = damaged.path("transformer/diffusion_pytorch_model.safetensors");
    let mut tensors = raw_tensors::read(&Checkpoint::open(&path).unwrap());
    let weight = tensors.get_mut("transformer_blocks.2.ff.net.2.weight").unwrap();
    *weight = RawTensor::new(Dtype::F32, &weight.shape, &vec![f32::NAN; weight.shape.iter().product()]);
    raw_tensors::write(&path, &tensors);
    let mut pipeline = pipeline(&damaged.path(""), &ComponentPaths::new());
    let start = Start::from_noise(fixture.tensor("noise"));
    let result = pipeline.denoise(&fixture.prompt(), &start, &fixture.settings(), &mut ignore);
    let said = text(&result.unwrap_err());
    assert!(said.contains("the image stream after block 2 is not finite in step 1 of 5"), "{said}");
}
