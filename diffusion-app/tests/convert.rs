//! The program `convert`, as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use diffusion_core::checkpoint::Checkpoint;

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
