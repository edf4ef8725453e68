//! Words about what is wrong.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use super::{PROMPT, assert_refused, asset, fixture, write_tensor};

#[test]
fn settings_out_of_range_are_refused() {
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--width", "100"], &["100 x 128", "multiples of 16"]),
        (&["--height", "16384"], &["128 x 16384", "position table"]),
        (&["--skip-layers", "99"], &["layer to skip is 99"]),
        (&["--slg-scale", "2"], &["--skip-layers"]),
        (&["--save-all-latents"], &["--save-latents"]),
        (&["--seed", "many"], &["many", "expected a whole number from 0 to 18446744073709551615"]),
        (&["--precision", "f8"], &["f8", "bf16"]),
        (&["--device", "abacus"], &["abacus", "cpu, cuda[:N]"]),
        (&["--device", "cuda:first"], &["first", "cuda:0"]),
        (&["--place", "unet=cpu"], &["unet", "clip_l, clip_g, t5xxl, transformer or vae"]),
        (&["--place", "vae=abacus"], &["vae cannot be placed", "abacus", "cpu, cuda[:N]"]),
        (&["--place", "vae=cpu,vae=cuda"], &["vae is placed twice"]),
        (&["--place", "cpu"], &["cpu", "COMPONENT=DEVICE"]),
    ];
    for (arguments, words) in cases {
        assert_refused(&[arguments, &[PROMPT]].concat(), words);
    }
    assert_refused(&[], &["<PROMPT>"]);
    assert_refused(&["--no-such-option", PROMPT], &["--no-such-option"]);
}

/// Before any work, in words that name the option and its range.
#[test]
fn every_number_has_a_range() {
    let side = "expected a whole number from 16 to 16384";
    for (option, values, range) in [
        ("--steps", &["-1", "0", "10001", "1.5", "nan"][..], "expected a whole number from 1 to 10000"),
        ("--width", &["0", "-16", "65536", "18446744073709551616"], side),
        ("--height", &["0", "wide"], side),
        ("--seed", &["-1", "18446744073709551616"], "from 0 to 18446744073709551615"),
        ("--count", &["0", "-2", "10001", "18446744073709551615"], "expected a whole number from 1 to 10000"),
        ("--batch-size", &["0", "65", "1000000000"], "expected a whole number from 1 to 64"),
        ("--max-sequence-length", &["0", "1000000", "18446744073709551615"], "expected a whole number from 1 to 4096"),
        ("--guidance-scale", &["nan", "-1", "inf", "1e9"], "expected a number from 0 to 1000"),
        ("--true-cfg-scale", &["nan", "-3"], "expected a number from 0 to 1000"),
        ("--shift-terminal", &["0", "1.5", "nan"], "expected a number above 0 and at most 1"),
        ("--strength", &["0", "-0.5", "2", "nan"], "expected a number above 0 and at most 1"),
        ("--mask-feather", &["-1", "100000"], "expected a whole number from 0 to 16384"),
        ("--step-cache-threshold", &["nan", "-1"], "expected a number from 0 to 1000"),
        ("--guidance-rescale", &["1.1", "-0.1", "nan"], "expected a number from 0 to 1"),
        ("--zero-steps", &["-1", "100000"], "expected a whole number from 0 to 10000"),
        ("--apg-eta", &["nan", "-1001"], "expected a number from -1000 to 1000"),
        ("--apg-norm-threshold", &["0", "-1", "nan"], "expected a number above 0"),
        ("--apg-momentum", &["-1.5", "nan"], "expected a number from -1 to 1"),
        ("--skip-layers", &["-1", "1,x", "1000"], "expected a whole number from 0 to 999"),
        ("--slg-scale", &["nan", "-1"], "expected a number from 0 to 1000"),
        ("--slg-start", &["nan", "-0.1", "1.5"], "expected a number from 0 to 1"),
        ("--slg-stop", &["nan", "2"], "expected a number from 0 to 1"),
    ] {
        for value in values {
            assert_refused(&[option, value, PROMPT], &[option, range]);
        }
    }
    assert_refused(&["--preview=0", PROMPT], &["--preview", "expected a whole number from 1 to 10000"]);
    assert_refused(&["--count", "6000", PROMPT, PROMPT], &["6000 images of each of 2 prompts are more than 10000"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_the_program_was_built_without_names_the_feature() {
    assert_refused(&["--device", "cuda:1", PROMPT], &["built without cuda:1", "--features cuda"]);
    let place = "text_encoders=cpu,transformer=cuda:1";
    assert_refused(&["--place", place, PROMPT], &["built without cuda:1", "--features cuda"]);
}

#[test]
fn a_component_that_the_model_does_not_have_is_not_placed() {
    let flux = fixture("flux-dev");
    let words = ["clip_g is placed on cpu, and the model has none", "it has clip_l, t5xxl, transformer, vae", "out of --place"];
    assert_refused(&["--model", &flux, "--place", "clip_g=cpu", PROMPT], &words);
}

#[test]
fn models_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = path.to_str().unwrap();
    let config = fixture("sd3");
    let refused = |contents: &[u8], words: &[&str]| {
        fs::write(&path, contents).unwrap();
        assert_refused(&["--model", model, "--config", &config, PROMPT], &[&["model.safetensors"], words].concat());
    };
    assert_refused(&["--model", model, PROMPT], &["model.safetensors", "cannot open", "No such file"]);
    assert_refused(&["--model", taken_folder(&folder), PROMPT], &["model_index.json"]);

    let whole = fs::read(fixture("sd3/original.safetensors")).unwrap();
    let half = &whole[..whole.len() / 2];
    refused(half, &["not a usable safetensors file", &format!("({} bytes)", half.len())]);
    refused(&[], &["(0 bytes)"]);
    refused(&[&u64::MAX.to_le_bytes(), &whole[8..]].concat(), &["not a usable safetensors file"]);
    let beyond = r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}"#;
    refused(&[&(beyond.len() as u64).to_le_bytes(), beyond.as_bytes()].concat(), &["not a usable safetensors file"]);
    write_tensor(&path, "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", &[1, 1], &[0.0]);
    refused(&fs::read(&path).unwrap(), &["a LoRA", "expected a Stable Diffusion 3 transformer"]);
}

fn taken_folder(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

/// The fixture's single file, its tensor `name` replaced.
fn with_tensor(name: &str, replacement: Option<(Dtype, &[usize])>) -> Vec<u8> {
    let whole = fs::read(fixture("sd3/original.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&whole).unwrap();
    let zeros = vec![0; 1 << 16];
    let mut tensors: Vec<_> = file.tensors().into_iter().filter(|(other, _)| other != name).collect();
    if let Some((dtype, shape)) = replacement {
        let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        tensors.push((name.to_owned(), TensorView::new(dtype, shape.to_vec(), &zeros[..len]).unwrap()));
    }
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    type Case = (&'static str, Option<(Dtype, &'static [usize])>, &'static [&'static str]);
    const WEIGHT: &str = "model.diffusion_model.joint_blocks.1.x_block.mlp.fc1.weight";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = fixture("sd3");
    let arguments = ["--model", path.to_str().unwrap(), "--config", &config, PROMPT];
    let cases: [Case; 4] = [
        (WEIGHT, Some((Dtype::I64, &[112, 28])), &[WEIGHT, "I64", "floating-point"]),
        (WEIGHT, Some((Dtype::BF16, &[28, 112])), &[WEIGHT, "[28, 112]", "[112, 28]"]),
        (WEIGHT, None, &["1 weights are missing", "blocks.1.image.feed_forward.input.weight"]),
        ("model.diffusion_model.extra.weight", Some((Dtype::BF16, &[3])), &["1 tensors are unknown", "extra.weight"]),
    ];
    for (name, replacement, words) in cases {
        fs::write(&path, with_tensor(name, replacement)).unwrap();
        assert_refused(&arguments, &[&["model.safetensors"], words].concat());
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_name() != "original.safetensors" {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn damaged_folders_are_refused() {
    const SHARD: &str = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors";
    const INDEX: &str = "transformer/diffusion_pytorch_model.safetensors.index.json";
    type Damage = fn(&Path);
    let cases: [(Damage, &[&str]); 6] = [
        (|folder| fs::remove_file(folder.join("model_index.json")).unwrap(), &["model_index.json"]),
        (|folder| fs::remove_file(folder.join(SHARD)).unwrap(), &["index.json", "00002-of-00002", "not beside it"]),
        (
            |folder| {
                let index = fs::read_to_string(folder.join(INDEX)).unwrap();
                fs::write(folder.join(INDEX), index.replace("\"proj_out.weight\"", "\"proj_in.weight\"")).unwrap();
            },
            &["index.json", "proj_in.weight", "does not hold it"],
        ),
        (|folder| fs::write(folder.join("transformer/config.json"), "{\"num_layers\":").unwrap(), &["transformer/config.json"]),
        (|folder| fs::remove_file(folder.join("tokenizer/vocab.json")).unwrap(), &["tokenizer/vocab.json", "no such file"]),
        (|folder| fs::remove_dir_all(folder.join("tokenizer_3")).unwrap(), &["tokenizer_3"]),
    ];
    for (damage, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        copy(Path::new(&fixture("sd3-large")), folder.path());
        damage(folder.path());
        assert_refused(&["--model", taken_folder(&folder), PROMPT], words);
    }
}

#[test]
fn configurations_that_are_not_there_are_named() {
    let model = fixture("sd3/original.safetensors");
    assert_refused(&["--model", &model, "--config", "nowhere", PROMPT], &["nowhere", "config.json"]);
    let large = fixture("sd3-large/original.safetensors");
    let config = fixture("sd3-large");
    assert_refused(&["--model", &large, "--config", &config, PROMPT], &["--clip-l", "--t5xxl"]);
}

#[test]
fn under_an_error_stands_the_option_that_puts_it_right() {
    let path = |file: &str| fixture(file);
    assert_refused(&["--model", &path("sd3/original.safetensors"), PROMPT], &["help: add --config DIR"]);
    assert_refused(&["--model", &path("flux-dev/original.safetensors"), PROMPT], &["help: add --config DIR"]);
    let (large, config) = (path("sd3-large/original.safetensors"), path("sd3-large"));
    let missing = "help: add --clip-l FILE or --clip-g FILE or --t5xxl FILE";
    assert_refused(&["--model", &large, "--config", &config, PROMPT], &["holds none of CLIP-L, CLIP-G, T5", missing]);

    let folder = tempfile::tempdir().unwrap();
    let noise = folder.path().join("noise.safetensors");
    // Its squares are infinite.
    write_tensor(&noise, "noise", &[1, 16, 8, 8], &[3e38; 1024]);
    let noise = ["--width", "64", "--height", "64", "--latents", noise.to_str().unwrap(), PROMPT];
    assert_refused(&noise, &["not finite", "help: try --precision f32"]);

    let photograph = folder.path().join("photograph.png");
    image::RgbImage::new(64, 64).save(&photograph).unwrap();
    let tiny = asset("taesd3/taesd3_decoder.safetensors");
    assert_refused(
        &["--vae", &tiny, "--image", photograph.to_str().unwrap(), PROMPT],
        &["without encoder", "help: leave --vae out"],
    );
}
