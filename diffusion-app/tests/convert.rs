//! The program `convert`, as a user runs it.

#[path = "../../diffusion-models/tests/common/dduf.rs"]
mod dduf;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use diffusion_core::checkpoint::Checkpoint;
use safetensors::tensor::{Dtype, TensorView};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

fn convert(input: &Path, output: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_convert")).arg(input).arg(output).args(options).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_whole_model_is_written_in_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let input = fixture("flux-dev/original.safetensors");
    let original = Checkpoint::open(&input).unwrap();
    let safetensors = ["f32", "f16", "bf16", "f8_e4m3", "f8_e4m3_scaled"].map(|dtype| (dtype, "safetensors"));
    let gguf = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k"].map(|dtype| (dtype, "gguf"));
    for (dtype, extension) in safetensors.into_iter().chain(gguf) {
        let path = folder.path().join(format!("{dtype}.{extension}"));
        let output = convert(&input, &path, &["--dtype", dtype]);
        assert!(output.status.success(), "{dtype}: {}", errors(&output));
        let found = Checkpoint::open(&path).unwrap();
        for (name, tensor) in original.tensors() {
            assert_eq!(found.shape(name), Some(tensor.shape()), "{dtype} {name}");
        }
        assert_eq!(found.tensors().count(), original.tensors().count());
    }
}

#[test]
fn shards_and_folders_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.safetensors");
    let output = convert(&fixture("sd3-large/transformer"), &path, &["--dtype", "bf16"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(Checkpoint::open(&path).unwrap().get("proj_out.weight").is_some());
}

#[test]
fn a_component_of_a_dduf_file_is_read_and_a_whole_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (model, path) = (folder.path().join("model.dduf"), folder.path().join("vae.safetensors"));
    std::fs::write(&model, dduf::archive(&dduf::entries_of(&fixture("flux-dev")), false)).unwrap();
    let output = convert(&model.join("vae"), &path, &["--dtype", "f32"]);
    assert!(output.status.success(), "{}", errors(&output));
    let (found, expected) = (Checkpoint::open(&path).unwrap(), Checkpoint::open(&fixture("flux-dev/vae")).unwrap());
    for (name, tensor) in expected.tensors() {
        assert_eq!(found.get(name).unwrap().to_f32().unwrap(), tensor.to_f32().unwrap(), "{name}");
    }
    for whole in [model, fixture("flux-dev")] {
        let output = convert(&whole, &folder.path().join("no.safetensors"), &["--dtype", "f32"]);
        assert!(!output.status.success());
        assert!(errors(&output).contains("is a whole model, not one of its components"), "{}", errors(&output));
        let inside = whole.join("transformer").display().to_string();
        assert!(errors(&output).contains(&inside), "{}", errors(&output));
    }
}

#[test]
fn inspect_lists_the_components_of_a_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.dduf");
    std::fs::write(&model, dduf::archive(&dduf::entries_of(&fixture("sd3")), false)).unwrap();
    let inspect = |path: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_inspect")).arg(path).arg("--tensors").output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let [packed, unpacked] = [model.clone(), fixture("sd3")].map(|path| inspect(&path));
    for expected in [
        "the components of a StableDiffusion3Pipeline",
        "transformer: SD3Transformer2DModel\n    a Stable Diffusion 3 transformer",
        "tokenizer_3: T5Tokenizer",
        "vae: decoder.conv_in.bias [",
    ] {
        assert!(packed.contains(expected), "{expected:?} is not in: {packed}");
    }
    let after_name = |said: &str| said.lines().filter(|line| !line.contains("the components of")).collect::<String>();
    assert_eq!(after_name(&packed), after_name(&unpacked));
    assert!(inspect(&model.join("vae")).contains("model.dduf/vae: an autoencoder (VAE)"));
}

#[test]
fn mistakes_are_explained_and_exit_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let input = fixture("flux-dev/original.safetensors");
    let existing = folder.path().join("there.safetensors");
    std::fs::write(&existing, "something").unwrap();
    let new = |name: &str| folder.path().join(name);
    let cases: [(&Path, PathBuf, &[&str], &str); 5] = [
        (&input, existing.clone(), &["--dtype", "f16"], "--force"),
        (&input, new("a.gguf"), &["--dtype", "f8_e4m3"], ".safetensors"),
        (&input, new("a.safetensors"), &["--dtype", "q4_k"], ".gguf"),
        (&input, new("a.safetensors"), &["--dtype", "q9"], "q4_k"),
        (Path::new("missing.safetensors"), new("a.safetensors"), &["--dtype", "f16"], "missing.safetensors"),
    ];
    for (input, output, options, expected) in cases {
        let result = convert(input, &output, options);
        assert!(!result.status.success());
        assert!(errors(&result).contains(expected), "{expected}: {}", errors(&result));
    }
    assert_eq!(std::fs::read(&existing).unwrap(), b"something");
    let replaced = convert(&input, &existing, &["--dtype", "f16", "--force"]);
    assert!(replaced.status.success(), "{}", errors(&replaced));
}

/// Name, type and shape of a tensor.
type Spec<'a> = (&'a str, Dtype, &'a [usize]);

/// Tensors of zeros: names, types and shapes are all that counts.
fn write_zeros(path: &Path, tensors: &[Spec], about: &[(&str, &str)]) {
    let bytes = vec![0; 1 << 16];
    let view = |dtype: Dtype, shape: &[usize]| {
        TensorView::new(dtype, shape.to_vec(), &bytes[..shape.iter().product::<usize>() * dtype.bitsize() / 8]).unwrap()
    };
    let tensors = tensors.iter().map(|(name, dtype, shape)| (*name, view(*dtype, shape)));
    let about = about.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    std::fs::write(path, safetensors::serialize(tensors, Some(about)).unwrap()).unwrap();
}

#[test]
fn what_cannot_be_converted_is_refused_by_its_name_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("model.safetensors");
    let nf4: [Spec; 3] = [
        ("double_blocks.0.img_attn.qkv.weight", Dtype::U8, &[64, 1]),
        ("double_blocks.0.img_attn.qkv.weight.absmax", Dtype::F32, &[2]),
        ("double_blocks.0.img_attn.qkv.weight.quant_state.bitsandbytes__nf4", Dtype::U8, &[2]),
    ];
    let other = |name: &'static str| [(name, Dtype::BF16, &[8, 8][..])];
    let cases: [(&[Spec], &str); 4] = [
        (&nf4, "bitsandbytes NF4"),
        (&other("distilled_guidance_layer.in_proj.weight"), "Chroma"),
        (&other("double_stream_modulation_img.lin.weight"), "FLUX.2"),
        (&other("model.diffusion_model.input_blocks.0.0.weight"), "Stable Diffusion 1, 2 or XL"),
    ];
    for (tensors, named) in cases {
        write_zeros(&input, tensors, &[]);
        let output = convert(&input, &folder.path().join("new.gguf"), &["--dtype", "q8_0"]);
        assert_eq!(output.status.code(), Some(1));
        let said = errors(&output);
        assert!(said.contains("model.safetensors") && said.contains(named), "{named}: {said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_header_of_a_lora_is_kept_and_settings_beside_it_are_pointed_out() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("adapter_model.safetensors");
    let name = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight";
    write_zeros(&input, &[(name, Dtype::F32, &[4, 8])], &[("lora_adapter_metadata", "{}"), ("sshs_model_hash", "1")]);
    let output = folder.path().join("new.safetensors");
    let result = convert(&input, &output, &["--dtype", "bf16"]);
    assert!(result.status.success(), "{}", errors(&result));
    assert!(!errors(&result).contains("warning"));
    let found = Checkpoint::open(&output).unwrap();
    assert_eq!(found.metadata_entries(), [("format", "pt"), ("lora_adapter_metadata", "{}")].into());

    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    let result = convert(&input, &output, &["--dtype", "bf16", "--force"]);
    assert!(errors(&result).contains("adapter_config.json"), "{}", errors(&result));
}

#[test]
fn a_file_can_take_the_place_of_the_one_that_it_was_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::copy(fixture("flux-dev/original.safetensors"), &path).unwrap();
    let names = |path: &Path| Checkpoint::open(path).unwrap().tensors().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let before = names(&path);
    let result = convert(&path, &path, &["--dtype", "f32", "--force"]);
    assert!(result.status.success(), "{}", errors(&result));
    assert_eq!(names(&path), before);
}
