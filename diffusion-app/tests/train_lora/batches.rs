//! Given batches: the program beside peft and diffusers.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};

use super::{Folder, fixture, tensors};

/// The options that the references were made with.
const OPTIONS: [&str; 20] = [
    "--quiet",
    "--steps",
    "3",
    "--save-every",
    "1",
    "--learning-rate",
    "1e-3",
    "--weight-decay",
    "1e-2",
    "--max-grad-norm",
    "1",
    "--lr-scheduler",
    "constant",
    "--warmup-steps",
    "0",
    "--log",
    "log.jsonl",
    "--output",
    "out.safetensors",
    "--device=cpu",
];

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b))) / norm(&mut expected.iter().map(|&b| f64::from(b)))
}

/// `reference` is compared with a run that starts from `start`; `steps` are those whose parameters are known.
fn assert_trains_as(name: &str, model: &[&str], start: &str, reference: &str, steps: &[usize]) {
    let folder = Folder::empty();
    let batches = fixture(&format!("{name}/training/reference.safetensors"));
    let start = fixture(&format!("{name}/training/{start}"));
    folder.train(&[model, &["--batches", &batches, "--init-lora", &start], &OPTIONS].concat());

    let expected = tensors(fixture(&format!("{name}/training/{reference}")).as_ref());
    let log = folder.log("log.jsonl");
    for (key, tolerance) in [("loss", 1e-5), ("grad_norm", 1e-4)] {
        let found: Vec<f32> = log.iter().map(|line| line[key].as_f64().unwrap() as f32).collect();
        let error = relative_error(&found, &expected[key]);
        assert!(error < tolerance, "{name} {model:?} {key}: {error}");
    }
    let start = tensors(start.as_ref());
    for &step in steps {
        let file = if step == 3 { "out.safetensors".to_owned() } else { format!("out-{step:06}.safetensors") };
        let found = tensors(&folder.path(&file));
        let end = format!(".after_{step}");
        let expected: BTreeMap<&str, &Vec<f32>> =
            expected.iter().filter_map(|(name, values)| Some((name.strip_suffix(&end)?, values))).collect();
        assert!(found.keys().eq(expected.keys()), "{name} {start:?}: other names");
        let (mut moved, mut should_move) = (Vec::new(), Vec::new());
        for (matrix, values) in &found {
            let error = relative_error(values, expected[&**matrix]);
            assert!(error < 1e-4, "{name} {model:?} {matrix} after step {step}: {error}");
            moved.extend(values.iter().zip(&start[matrix]).map(|(now, before)| now - before));
            should_move.extend(expected[&**matrix].iter().zip(&start[matrix]).map(|(now, before)| now - before));
        }
        // AdamW divides by the size of a gradient, however small it is.
        let error = relative_error(&moved, &should_move);
        assert!(error < 0.02, "{name} {model:?}, the change after step {step}: {error}");
    }
}

#[test]
fn given_batches_are_learnt_as_peft_learns_them() {
    for name in ["sd3", "flux-dev"] {
        let (model, file) = (fixture(name), fixture(&format!("{name}/original.safetensors")));
        for options in
            [&["--model", &*model][..], &["--model", &model, "--stream-weights"], &["--model", &file, "--config", &model]]
        {
            assert_trains_as(name, options, "start.safetensors", "reference.safetensors", &[1, 3]);
        }
        assert_trains_as(name, &["--model", &model], "dora.safetensors", "dora_reference.safetensors", &[3]);
    }
}

#[test]
fn batches_that_are_not_finite_stop_the_run() {
    let batches = fixture("sd3/training/reference.safetensors");
    let bytes = std::fs::read(&batches).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut latents = file.tensor("latents").unwrap().data().to_vec();
    latents[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let names = ["noise", "sigmas", "prompt_embeds", "pooled_prompt_embeds"];
    let mut views: Vec<_> = names.iter().map(|&name| (name, file.tensor(name).unwrap())).collect();
    views.push(("latents", TensorView::new(Dtype::F32, file.tensor("latents").unwrap().shape().to_vec(), &latents).unwrap()));
    let folder = Folder::empty();
    std::fs::write(folder.path("bad.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let model = fixture("sd3");
    let arguments = ["--quiet", "--model", &model, "--batches", "bad.safetensors", "--output", "out.safetensors"];
    let words = ["step 1: the loss is not finite", "picture 1 of bad.safetensors, picture 2", "nothing was saved yet"];
    folder.refuses(&arguments, &words);
    assert_eq!(folder.files(), ["bad.safetensors"]);
}

#[test]
fn batches_for_other_models_are_refused() {
    let [sd3, flux] = ["sd3", "flux-dev"].map(|name| fixture(&format!("{name}/training/reference.safetensors")));
    let folder = Folder::empty();
    let refused = |model: &str, batches: &str, words: &[&str]| {
        let model = fixture(model);
        folder.refuses(&["--model", &model, "--batches", batches, "--steps", "1"], words);
    };
    refused("sd3", &flux, &["embeddings are 52 and 22 wide, and", "takes 56 and 52"]);
    refused("flux-dev", &sd3, &["embeddings are 56 and 52 wide, and", "takes 52 and 22"]);
    refused("sd3", &fixture("sd3/training/start.safetensors"), &["has no tensor sigmas"]);
    refused("sd3", "nowhere.safetensors", &["nowhere.safetensors"]);
    assert!(folder.files().is_empty());
}
