//! LoRAs as a user meets them: `txt2img --lora` and `inspect`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

fn fixture(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path).to_str().unwrap().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One step of the fixture's model, with these options besides.
fn draw(folder: &TempDir, options: &[&str]) -> Output {
    let model = fixture("sd3");
    let common = ["--model", &model, "--width", "96", "--height", "48", "--steps", "1", "--guidance-scale", "1"];
    let files = ["--save-latents", "latents.safetensors", "a prompt"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.args(common).args(options).args(files).current_dir(folder).output().unwrap()
}

#[track_caller]
fn latents(options: &[&str]) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let output = draw(&folder, options);
    assert!(output.status.success(), "{}", stderr(&output));
    let bytes = fs::read(folder.path().join("latents.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor("latents").unwrap().data().to_vec();
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b))) / norm(&mut expected.iter().map(|&b| f64::from(b)))
}

#[test]
fn loras_change_the_image_alike_in_every_mode() {
    let lora = fixture("sd3/lora/kohya.safetensors:0.8");
    let plain = latents(&[]);
    let attached = latents(&["--lora", &lora, "--lora-mode", "attach"]);
    assert!(relative_error(&attached, &plain) > 0.1);
    let streamed = latents(&["--lora", &lora, "--stream-weights"]);
    assert!(relative_error(&streamed, &attached) < 1e-6);
    // The fixture stores bf16, which merging rounds to.
    let merged = latents(&["--lora", &lora, "--lora-mode", "merge"]);
    assert!(relative_error(&merged, &attached) < 2e-2);
    assert_eq!(latents(&["--lora", &fixture("sd3/lora/kohya.safetensors:0")]), plain);
}

#[test]
fn what_a_lora_is_gets_printed_and_written_into_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["kohya.safetensors:0.5", "peft:-0.25"].map(|name| fixture(&format!("sd3/lora/{name}")));
    let output = draw(&folder, &["--lora", &first, "--lora", &second]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    for words in ["kohya.safetensors: ", "dialect kohya", "dialect PEFT", "matched", "rank 2 to 4"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    let image = fs::read(folder.path().join("output.png")).unwrap();
    let text = String::from_utf8_lossy(&image);
    assert!(text.contains("a prompt <lora:kohya:0.5> <lora:peft:-0.25>"));
}

#[track_caller]
fn assert_refused(options: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = draw(&folder, options);
    let said = stderr(&output);
    assert!(matches!(output.status.code(), Some(1 | 2)) && !said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{said}");
}

#[test]
fn loras_that_do_not_fit_are_refused_before_anything_is_drawn() {
    assert_refused(&["--lora", "nowhere.safetensors:1"], &["nowhere.safetensors"]);
    assert_refused(&["--lora", "nowhere.safetensors:strong"], &["strength"]);
    assert_refused(
        &["--lora", &fixture("flux-dev/lora/xlabs.safetensors")],
        &["does not fit", "FLUX.1", "double_blocks.0", "help: `inspect ", "--allow-lora-misfits"],
    );
    for (file, words) in [
        ("sd3/transformer", &["a Stable Diffusion 3 transformer, and a model goes to --model"][..]),
        ("flux-dev/original.safetensors", &["a FLUX.1 transformer, and a model goes to --model"]),
        ("sd3/vae", &["an autoencoder (VAE), which goes to --vae"]),
        ("sd3/text_encoder_2", &["a CLIP text encoder, which goes to --clip-l or --clip-g"]),
        ("sd3/text_encoder_3", &["a T5 encoder, which goes to --t5xxl"]),
    ] {
        let words = [&["is no LoRA", "whole weights"], words].concat();
        assert_refused(&["--lora", &fixture(file)], &words);
        assert_refused(&["--lora", &fixture(file), "--allow-lora-misfits"], &words);
    }
    assert_refused(&["--lora", &fixture("sd3/tokenizer")], &["pytorch_lora_weights.safetensors", "vocab.json"]);
    assert_refused(&["--lora-mode", "merge"], &["--lora"]);
}

#[test]
fn what_fits_of_a_lora_is_used_if_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.safetensors");
    let (whole, zeros) = (fs::read(fixture("sd3/lora/kohya.safetensors")).unwrap(), [0; 16]);
    let file = SafeTensors::deserialize(&whole).unwrap();
    let factors = [("down", vec![2, 2]), ("up", vec![2, 2])];
    let stray = factors.map(|(factor, shape)| {
        (
            format!("lora_unet_joint_blocks_99_x_block_attn_qkv.lora_{factor}.weight"),
            TensorView::new(Dtype::F32, shape, &zeros).unwrap(),
        )
    });
    fs::write(&path, safetensors::serialize(file.tensors().into_iter().chain(stray), None).unwrap()).unwrap();
    let lora = path.to_str().unwrap();
    assert_refused(&["--lora", lora], &["does not fit this model completely", "blocks_99", "help: --allow-lora-misfits"]);
    let fitting = fixture("sd3/lora/kohya.safetensors");
    assert_eq!(latents(&["--lora", lora, "--allow-lora-misfits"]), latents(&["--lora", &fitting]));
    let said = stderr(&draw(&folder, &["--lora", lora, "--allow-lora-misfits"]));
    assert!(said.contains("warning: ") && said.contains("what fits is used"), "{said}");
}

fn inspect(path: PathBuf) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_inspect")).arg(path).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output))
}

#[test]
fn inspect_tells_what_files_hold() {
    let (ok, said) = inspect(fixture("flux-dev/lora/xlabs.safetensors").into());
    assert!(ok && said.contains("dialect XLabs") && said.contains("rank 2"), "{said}");
    let (ok, said) = inspect(fixture("sd3/transformer").into());
    assert!(ok && said.contains("Stable Diffusion 3 transformer") && said.contains("BF16"), "{said}");
    let (ok, said) = inspect("nowhere.safetensors".into());
    assert!(!ok && said.contains("nowhere.safetensors"), "{said}");
}

#[test]
fn inspect_takes_no_model_for_a_lora() {
    let folder = tempfile::tempdir().unwrap();
    for (file, kind) in [("flux-dev", "a FLUX.1 transformer"), ("sd3", "a Stable Diffusion 3 transformer")] {
        let file = fixture(&format!("{file}/original.safetensors"));
        let (ok, said) = inspect(file.clone().into());
        assert!(ok && said.contains(&format!("an all-in-one file with {kind}")), "{said}");
        let gguf = folder.path().join("model.gguf");
        let converted =
            Command::new(env!("CARGO_BIN_EXE_convert")).arg(&file).arg(&gguf).args(["--dtype", "f16"]).output().unwrap();
        assert!(converted.status.success(), "{}", stderr(&converted));
        let (ok, said) = inspect(gguf.clone());
        assert!(ok && said.contains(kind) && !said.contains("dialect"), "{said}");
        fs::remove_file(gguf).unwrap();
    }
    // The transformer alone, under its original names.
    let whole = fs::read(fixture("flux-dev/original.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&whole).unwrap();
    let alone = file
        .tensors()
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("model.diffusion_model.")?.to_owned(), tensor)));
    let path = folder.path().join("flux1-dev.safetensors");
    fs::write(&path, safetensors::serialize(alone, None).unwrap()).unwrap();
    let (ok, said) = inspect(path);
    assert!(ok && said.contains(": a FLUX.1 transformer"), "{said}");
}

#[test]
fn names_of_files_do_not_reach_the_terminal_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = [0; 16];
    for name in ["transformer.\u{1b}[2J\u{7}.lora_A.weight", "\u{1b}]0;title\u{7}.weight\nforged"] {
        let path = folder.path().join("names.safetensors");
        let tensor = TensorView::new(Dtype::F32, vec![2, 2], &zeros).unwrap();
        fs::write(&path, safetensors::serialize([(name, tensor)], None).unwrap()).unwrap();
        for options in [&[][..], &["--tensors"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_inspect")).args(options).arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
            assert!(!said.contains(['\u{1b}', '\u{7}']) && said.contains("\\u{1b}") && !said.contains("\nforged"), "{said}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn inspect_ends_without_a_panic_where_nothing_can_be_printed() {
    let run = |stdout: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inspect"));
        let child = command.arg("--tensors").arg(fixture("sd3/transformer")).stdout(stdout).stderr(std::process::Stdio::piped());
        child.spawn().unwrap()
    };
    let full = run(fs::File::options().write(true).open("/dev/full").unwrap().into()).wait_with_output().unwrap();
    assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
    assert!(stderr(&full).contains("cannot write to standard output"), "{}", stderr(&full));
    let mut closed = run(std::process::Stdio::piped());
    drop(closed.stdout.take());
    let closed = closed.wait_with_output().unwrap();
    assert!(!stderr(&closed).contains("panicked") && closed.status.code().is_some_and(|code| code <= 2), "{}", stderr(&closed));
}
