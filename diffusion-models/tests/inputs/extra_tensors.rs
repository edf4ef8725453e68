//! Files with more in them than drawing needs.

use std::path::Path;

use burn::tensor::Tensor;
use diffusion_core::checkpoint::Checkpoint;
use diffusion_core::weights::ComponentId;
use diffusion_models::components::{CLIP_G, CLIP_L, T5XXL};
use diffusion_models::{ComponentPaths, Pipeline, ignore, open_model};
use safetensors::tensor::Dtype;

use super::{assert_says, common, file, refusal};
use crate::fixture::{Fixture, pipeline};
use crate::raw_tensors::{self, RawTensor, RawTensors};

/// The tensors of a text encoder of a fixture.
fn encoder(fixture: &str, folder: &str) -> RawTensors {
    raw_tensors::read(&Checkpoint::open(&common::fixture(fixture).join(folder)).unwrap())
}

/// Weights that no other file has, so that it shows which one was read.
fn scaled(tensors: &RawTensors) -> RawTensors {
    raw_tensors::map(tensors, |_, tensor| {
        let values: Vec<f32> = tensor.to_f32().iter().map(|value| value * 1.25).collect();
        RawTensor::new(Dtype::F32, &tensor.shape, &values)
    })
}

fn noise(shape: &[usize]) -> RawTensor {
    let len = shape.iter().product::<usize>();
    RawTensor::new(Dtype::F32, shape, &(0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>())
}

/// The encoded prompt of a fixture with this file for a component, and what is left out of the file.
fn encoded(fixture: &'static str, id: ComponentId, path: &Path) -> (Tensor<3>, Tensor<2>, Vec<String>) {
    let fixture = Fixture::new(fixture);
    let mut pipeline: Pipeline = pipeline(&fixture.path(""), &ComponentPaths::new().with(id, path));
    let settings = fixture.settings();
    let encoded = pipeline.encode_prompt("a red star", "", &settings, &mut ignore).unwrap().positive;
    let left_out = pipeline.info().left_out.iter().filter(|left_out| left_out.path == path);
    let left_out = left_out.flat_map(|left_out| left_out.tensors.clone()).collect();
    (encoded.tokens, encoded.pooled, left_out)
}

/// Fails unless both files give the same encoding, and the second one leaves out what its names begin with.
fn assert_same(fixture: &'static str, id: ComponentId, [plain, other]: [&RawTensors; 2], left_out: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let [plain, other] = [(plain, "plain.safetensors"), (other, "other.safetensors")].map(|(tensors, name)| {
        let path = file(folder.path(), name);
        raw_tensors::write(&path, tensors);
        encoded(fixture, id, &path)
    });
    common::assert_close("tokens", other.0, plain.0, 0.0);
    common::assert_close("pooled", other.1, plain.1, 0.0);
    assert_eq!(other.2, left_out, "{fixture}, {id}");
}

/// The tensors of a CLIP's text tower under OpenAI's names.
fn in_openai_names(tensors: &RawTensors) -> RawTensors {
    const NAMES: [(&str, &str); 8] = [
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("self_attn.out_proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        ("embeddings.token_embedding", "token_embedding"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("final_layer_norm", "ln_final"),
    ];
    let mut renamed = RawTensors::new();
    for (name, tensor) in tensors {
        let name = name.strip_prefix("text_model.").unwrap_or(name).replace("encoder.layers", "transformer.resblocks");
        if name == "text_projection.weight" {
            let (&[rows, columns], values) = (&tensor.shape[..], tensor.to_f32()) else { panic!("{:?}", tensor.shape) };
            let transposed: Vec<f32> = (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect();
            renamed.insert("text_projection".to_owned(), RawTensor::new(Dtype::F32, &[columns, rows], &transposed));
        } else if let Some((layer, kind)) = name.split_once(".self_attn.q_proj.") {
            let part = |part: &str| {
                let find = |(other, _): &(&String, &RawTensor)| {
                    other.ends_with(&format!("{}.self_attn.{part}_proj.{kind}", layer_of(layer)))
                };
                tensors.iter().find(find).unwrap().1
            };
            let parts = ["q", "k", "v"].map(part);
            let mut shape = parts[0].shape.clone();
            shape[0] *= 3;
            let values: Vec<f32> = parts.iter().flat_map(|part| part.to_f32()).collect();
            renamed.insert(format!("{layer}.attn.in_proj_{kind}"), RawTensor::new(Dtype::F32, &shape, &values));
        } else if !name.contains("self_attn.k_proj") && !name.contains("self_attn.v_proj") {
            let name = NAMES.iter().fold(name, |name, (from, to)| name.replace(from, to));
            renamed.insert(name, tensor.clone());
        }
    }
    renamed
}

/// `transformer.resblocks.2` as transformers calls it.
fn layer_of(layer: &str) -> String {
    layer.replace("transformer.resblocks", "encoder.layers")
}

const VISION: [(&str, &[usize]); 6] = [
    ("logit_scale", &[]),
    ("text_model.embeddings.position_ids", &[1, 24]),
    ("text_projection.weight", &[22, 22]),
    ("vision_model.embeddings.class_embedding", &[30]),
    ("vision_model.encoder.layers.0.self_attn.q_proj.weight", &[30, 30]),
    ("visual_projection.weight", &[22, 30]),
];

fn whole_clip() -> [RawTensors; 2] {
    let text = scaled(&encoder("flux-dev", "text_encoder"));
    let named = |name: &str| format!("text_model.{}", name.strip_prefix("text_model.").unwrap_or(name));
    let text: RawTensors = text.into_iter().map(|(name, tensor)| (named(&name), tensor)).collect();
    let mut whole = text.clone();
    whole.extend(VISION.map(|(name, shape)| (name.to_owned(), noise(shape))));
    [text, whole]
}

#[test]
fn a_whole_clip_serves_as_its_text_encoder() {
    let [text, whole] = whole_clip();
    assert_same("flux-dev", CLIP_L, [&text, &whole], &VISION.map(|(name, _)| name));
}

#[test]
fn openais_names_of_clip_l_are_read() {
    let [text, _] = whole_clip();
    let mut openai = in_openai_names(&text);
    let extra: [(&str, &[usize]); 7] = [
        ("context_length", &[]),
        ("input_resolution", &[]),
        ("logit_scale", &[]),
        ("text_projection", &[22, 22]),
        ("visual.class_embedding", &[30]),
        ("visual.transformer.resblocks.0.attn.in_proj_weight", &[90, 30]),
        ("vocab_size", &[]),
    ];
    openai.extend(extra.map(|(name, shape)| (name.to_owned(), noise(shape))));
    assert_same("flux-dev", CLIP_L, [&text, &openai], &extra.map(|(name, _)| name));
    // OpenCLIP's name of the text tower where it is a module of its own.
    let inner: RawTensors = in_openai_names(&text).into_iter().map(|(name, tensor)| (format!("text.{name}"), tensor)).collect();
    assert_same("flux-dev", CLIP_L, [&text, &inner], &[]);
}

/// Its projection is used, and `OpenCLIP` keeps it transposed.
#[test]
fn open_clips_names_of_clip_g_are_read() {
    let text = scaled(&encoder("sd3", "text_encoder_2"));
    assert!(text.contains_key("text_projection.weight"));
    assert_same("sd3", CLIP_G, [&text, &in_openai_names(&text)], &[]);
    // ComfyUI's node that saves encoders writes that matrix beside the names of transformers.
    let mut saved = text.clone();
    saved.remove("text_projection.weight");
    saved.insert("text_projection".to_owned(), in_openai_names(&text)["text_projection"].clone());
    assert_same("sd3", CLIP_G, [&text, &saved], &[]);
}

#[test]
fn a_whole_t5_serves_as_its_encoder() {
    let encoder = scaled(&encoder("flux-dev", "text_encoder_2"));
    let mut whole = encoder.clone();
    let extra: [(&str, &[usize]); 4] = [
        ("decoder.block.0.layer.1.EncDecAttention.q.weight", &[8, 8]),
        ("decoder.final_layer_norm.weight", &[8]),
        ("lm_head.weight", &[9, 8]),
        ("spiece_model", &[5]),
    ];
    whole.extend(extra.map(|(name, shape)| (name.to_owned(), noise(shape))));
    assert_same("flux-dev", T5XXL, [&encoder, &whole], &extra.map(|(name, _)| name));
}

#[test]
fn what_is_unknown_in_a_text_encoder_stays_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "clip.safetensors");
    for names in [["vision_model.a", "text_model.encoder.layers.0.self_attn.gate"], ["logit_scale", "head.weight"]] {
        let [mut tensors, _] = whole_clip();
        tensors.extend(names.map(|name| (name.to_owned(), noise(&[4]))));
        raw_tensors::write(&path, &tensors);
        let paths = ComponentPaths::new().with(CLIP_L, &path);
        let said = refusal(open_model(&common::fixture("flux-dev"), &paths));
        assert_says(&said, &["clip.safetensors", "1 tensors are unknown to it", names[1]]);
    }
    // A CLIP without its text tower, and CLIP-G under OpenAI's names in the place of CLIP-L.
    let vision = |name: &str, shape: &[usize]| -> RawTensors { [(name.to_owned(), noise(shape))].into() };
    for (tensors, words) in [
        (vision("vision_model.encoder.layers.0.self_attn.q_proj.weight", &[4, 4]), "without the text encoder"),
        (vision("visual.transformer.resblocks.0.attn.in_proj_weight", &[4, 4]), "without the text encoder"),
    ] {
        raw_tensors::write(&path, &tensors);
        let paths = ComponentPaths::new().with(CLIP_L, &path);
        assert_says(&refusal(open_model(&common::fixture("flux-dev"), &paths)), &["clip.safetensors", words]);
    }
    let signs = [
        "transformer.resblocks.0.mlp.c_fc.weight",
        "transformer.resblocks.0.attn.in_proj_weight",
        "transformer.resblocks.30.mlp.c_fc.weight",
    ];
    raw_tensors::write(&path, &signs.map(|name| (name.to_owned(), noise(&[4, 4]))).into());
    let paths = ComponentPaths::new().with(CLIP_L, &path);
    let said = refusal(open_model(&common::fixture("flux-dev"), &paths));
    assert_says(&said, &["clip.safetensors holds a CLIP text encoder, expected CLIP-L"]);
}

#[test]
fn what_training_leaves_in_an_all_in_one_file_is_named() {
    let fixture = Fixture::new("sd3");
    let mut tensors = raw_tensors::read(&Checkpoint::open(&fixture.path("original.safetensors")).unwrap());
    let extra: [(&str, &[usize]); 4] = [
        ("first_stage_model.loss.logvar", &[]),
        ("loss.discriminator.weight", &[3]),
        ("model_ema.decay", &[]),
        ("text_encoders.clip_l.logit_scale", &[]),
    ];
    tensors.extend(extra.map(|(name, shape)| (name.to_owned(), noise(shape))));
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "model.safetensors");
    raw_tensors::write(&path, &tensors);
    let model = open_model(&path, &fixture.components()).unwrap();
    let mut named: Vec<&str> = model.info().left_out.iter().flat_map(|left_out| &left_out.tensors).map(String::as_str).collect();
    named.sort_unstable();
    for (name, _) in extra {
        assert!(named.contains(&name), "{name} is not in {named:?}");
    }
    let unmixed = open_model(&fixture.path("original.safetensors"), &fixture.components()).unwrap();
    let before: usize = unmixed.info().left_out.iter().map(|left_out| left_out.tensors.len()).sum();
    assert_eq!(named.len(), before + extra.len(), "{named:?}");
}

/// An IP-Adapter that diffusers saved with its transformer needs an image prompt to have an effect.
#[test]
fn the_projection_of_an_image_prompt_is_left_out() {
    for (name, transformer) in [("sd3", "transformer"), ("flux-dev", "transformer")] {
        let folder = super::Folder::copy_of(name);
        let path = folder.path(transformer).join("diffusion_pytorch_model.safetensors");
        let mut tensors = raw_tensors::read(&Checkpoint::open(&path).unwrap());
        let extra = "encoder_hid_proj.image_projection_layers.0.norm.weight";
        tensors.insert(extra.to_owned(), noise(&[4]));
        raw_tensors::write(&path, &tensors);
        let model = folder.open().unwrap();
        let named: Vec<&String> = model.info().left_out.iter().flat_map(|left_out| &left_out.tensors).collect();
        assert!(named.contains(&&extra.to_owned()), "{name}: {named:?}");
    }
}
