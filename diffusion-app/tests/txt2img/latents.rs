//! Noise to start from, and latents that are kept.

use std::fs;
use std::path::{Path, PathBuf};

use diffusion_core::noise::TorchGenerator;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::{PROMPT, assert_refused, draw, draw_in, fixture, run_in, write_tensor};

/// Names and shapes in a file of latents, and whether all numbers are finite.
fn latents(path: &Path) -> Vec<(String, Vec<usize>, bool)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, tensor)| {
            assert_eq!(tensor.dtype(), Dtype::F32);
            let finite = tensor.data().as_chunks().0.iter().all(|value| f32::from_le_bytes(*value).is_finite());
            (name.to_owned(), tensor.shape().to_vec(), finite)
        })
        .collect();
    tensors.sort();
    tensors
}

#[test]
fn latents_are_kept_under_their_names() {
    let expected = |names: &[&str]| names.iter().map(|name| (name.to_string(), vec![1, 16, 8, 8], true)).collect::<Vec<_>>();
    let run = draw(&["--save-latents", "kept.safetensors", PROMPT]);
    assert_eq!(run.files(), ["kept.safetensors", "output.png"]);
    assert_eq!(latents(&run.path("kept.safetensors")), expected(&["latents"]));
    let run = draw(&["--save-latents", "kept.safetensors", "--save-all-latents", PROMPT]);
    assert_eq!(latents(&run.path("kept.safetensors")), expected(&["latents", "latents_1", "latents_2"]));
    let bytes = run.bytes("kept.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("latents").unwrap().data(), file.tensor("latents_2").unwrap().data());
}

/// Values of a tensor of f32.
fn values(path: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    tensor.data().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// Options reach the model: what the program keeps is what diffusers computes. The stages are compared in `diffusion-models`.
#[test]
fn a_run_with_every_setting_gives_the_latents_of_the_reference() {
    /// Five steps in f32, whose sums are made in another order.
    const TOLERANCE: f64 = 1e-4;
    let (model, config, flux) = (fixture("sd3/original.safetensors"), fixture("sd3"), fixture("flux-dev"));
    let guided = ["--skip-layers", "1", "--slg-scale", "2.8", "--slg-start", "0.01", "--slg-stop", "0.7"];
    for (name, files, more, expected) in [
        ("sd3", vec!["--model", &config], &[][..], "latents_5"),
        ("sd3", vec!["--model", &model, "--config", &config], &[], "latents_5"),
        ("sd3", vec!["--model", &config], &guided, "slg_latents"),
        // Its guidance scale is the distilled guidance.
        ("flux-dev", vec!["--model", &flux], &[], "latents_5"),
        ("flux-dev", vec!["--model", &flux], &["--true-cfg-scale", "2"], "true_cfg_latents"),
    ] {
        let reference = PathBuf::from(fixture(&format!("{name}/reference.safetensors")));
        let json = fs::read(fixture(&format!("{name}/reference.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let setting = |name: &str| json[name].as_str().map_or_else(|| json[name].to_string(), str::to_owned);
        let [height, width] = ["height", "width"].map(|side| json[side].as_u64().unwrap() as usize / 8);
        let (folder, noise) = (tempfile::tempdir().unwrap(), values(&reference, "noise"));
        write_tensor(&folder.path().join("noise.safetensors"), "noise", &[1, 16, height, width], &noise);
        let settings = [
            ("--width", "width"),
            ("--height", "height"),
            ("--steps", "steps"),
            ("--guidance-scale", "guidance_scale"),
            ("--max-sequence-length", "max_sequence_length"),
            ("--negative-prompt", "negative_prompt"),
        ];
        let settings: Vec<String> = settings.iter().flat_map(|(option, name)| [(*option).to_owned(), setting(name)]).collect();
        let settings = settings.iter().map(String::as_str);
        let prompt = setting("prompt");
        let kept = ["--latents", "noise.safetensors", "--save-latents", "kept.safetensors", "--precision", "f32", &prompt];
        let arguments: Vec<&str> = files.into_iter().chain(settings).chain(more.iter().copied()).chain(kept).collect();
        let run = run_in(folder, &arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);

        let (found, expected) = (values(&run.path("kept.safetensors"), "latents"), values(&reference, expected));
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let error = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
        assert!(error <= TOLERANCE && found.len() == expected.len(), "{error}");
    }
}

#[test]
fn noise_from_a_file_takes_the_place_of_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let noise = TorchGenerator::new(5).normal(16 * 8 * 8);
    write_tensor(&folder.path().join("noise.safetensors"), "noise", &[1, 16, 8, 8], &noise);
    let given = draw_in(folder, &["--latents", "noise.safetensors", "--seed", "5", PROMPT]);
    assert!(given.bytes("output.png") == draw(&["--seed", "5", PROMPT]).bytes("output.png"));
}

/// Found before the text encoders are loaded, which takes long in large models.
#[test]
fn noise_that_does_not_fit_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    write_tensor(&folder.path().join("noise.safetensors"), "noise", &[1, 16, 8, 4], &[0.0; 512]);
    let run = run_in(folder, &["--width", "64", "--height", "64", "--latents", "noise.safetensors", PROMPT]);
    assert!(run.code == Some(1) && run.stderr.contains("[1, 16, 8, 4]") && !run.stderr.contains("encoded"), "{}", run.stderr);
}

#[test]
fn noise_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.safetensors");
    let file = path.to_str().unwrap();
    let arguments = ["--width", "64", "--height", "64", "--steps", "2", "--latents", file, PROMPT];
    assert_refused(&arguments, &["noise.safetensors", "cannot open"]);
    write_tensor(&path, "noise", &[1, 16, 8, 4], &[0.0; 512]);
    assert_refused(&arguments, &["noise.safetensors", "[1, 16, 8, 4]", "[1, 16, 8, 8]"]);
    write_tensor(&path, "latents", &[1, 16, 8, 8], &[0.0; 1024]);
    assert_refused(&arguments, &["noise.safetensors", "no tensor named noise"]);
    write_tensor(&path, "noise", &[1, 16, 8, 8], &[f32::NAN; 1024]);
    assert_refused(&arguments, &["noise.safetensors: tensor noise has numbers that are not finite"]);
    assert_refused(&[&["--count", "2"], &arguments[..]].concat(), &["--latents", "--count"]);
}
