//! The program as a user meets it: images, and words about what is wrong.

mod sampling;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use diffusion_core::noise::TorchGenerator;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

const PROMPT: &str = "a small yellow heart at the top on a purple background";

/// A run of the program in a folder of its own.
struct Run {
    folder: TempDir,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}; {}", self.stderr))
    }

    /// Names of the files that the run left.
    fn files(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(&self.folder).unwrap().map(name).collect();
        names.sort();
        names
    }
}

fn run_in(folder: TempDir, arguments: &[&str]) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_txt2img")).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")), folder, arguments)
}

fn run(program: &mut Command, folder: TempDir, arguments: &[&str]) -> Run {
    let output = program.args(arguments).current_dir(&folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { folder, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Draw with the miniature, small and quickly.
#[track_caller]
fn draw(arguments: &[&str]) -> Run {
    draw_in(tempfile::tempdir().unwrap(), arguments)
}

#[track_caller]
fn draw_in(folder: TempDir, arguments: &[&str]) -> Run {
    let run = run_in(folder, &[&["--width", "64", "--height", "64", "--steps", "2"], arguments].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run
}

/// Fails unless the program refuses `arguments` in words that contain all of `words`, without a panic, and leaves the
/// folder as it was.
#[track_caller]
fn assert_refused(arguments: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("output.png"), "an older image").unwrap();
    let run = run_in(folder, arguments);
    let (code, said) = (run.code, &run.stderr);
    assert!(matches!(code, Some(1 | 2)), "exit code {code:?}: {said}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert_eq!(run.bytes("output.png"), b"an older image");
    assert_eq!(run.files(), ["output.png"]);
}

/// The text that a PNG carries under `parameters`, its width and height.
fn parameters_and_size(path: &Path) -> (String, u32, u32) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == "parameters");
    let unicode = info.utf8_text.iter().find(|chunk| chunk.keyword == "parameters");
    let text = plain.map(|chunk| chunk.text.clone()).or_else(|| unicode.map(|chunk| chunk.get_text().unwrap()));
    (text.expect("the image tells its parameters"), info.width, info.height)
}

fn asset(path: &str) -> String {
    fixture(&format!("../diffusion-app/assets/{path}"))
}

fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path);
    path.canonicalize().unwrap().into_os_string().into_string().unwrap()
}

#[test]
fn an_image_has_its_size_and_tells_its_parameters() {
    let run = run_in(
        tempfile::tempdir().unwrap(),
        &["--width", "80", "--height", "64", "--steps", "2", "--seed", "7", "--negative-prompt", "a gray ring", PROMPT],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.files(), ["output.png"]);
    let (text, width, height) = parameters_and_size(&run.path("output.png"));
    assert_eq!((width, height), (80, 64));
    let expected = format!(
        "{PROMPT}\nNegative prompt: a gray ring\nSteps: 2, Sampler: euler, CFG scale: 5, Seed: 7, Size: 80x64, Model: mini-sd3"
    );
    assert_eq!(text, expected);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert!(run.stderr.contains("80 x 64 pixels") && run.stderr.contains("wrote output.png (seed 7"), "{}", run.stderr);
}

#[test]
fn prompts_in_any_script_are_told() {
    for prompt in ["un café à la crème", "наивный 猫 🙂 on a white background", "", "two\nlines", "naïve \u{301}"] {
        let run = draw(&[prompt]);
        let (text, ..) = parameters_and_size(&run.path("output.png"));
        assert!(text.starts_with(&format!("{prompt}\nSteps: 2, ")), "{text:?}");
    }
}

/// A copy elsewhere draws the same image, and where nothing can be kept for the next run, with a warning.
#[test]
fn a_copied_program_carries_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("copied");
    fs::copy(env!("CARGO_BIN_EXE_txt2img"), &program).unwrap();
    let small = ["--width", "64", "--height", "64", "--steps", "2", PROMPT];
    let expected = draw(&[PROMPT]).bytes("output.png");
    let cache = folder.path().join("cache");
    let drawn = run(Command::new(&program).env("XDG_CACHE_HOME", &cache), tempfile::tempdir().unwrap(), &small);
    assert!(drawn.bytes("output.png") == expected);
    assert_eq!(cache.exists(), cfg!(target_os = "linux"));

    fs::write(folder.path().join("file"), "").unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut without_cache = Command::new(&program);
    without_cache
        .env("XDG_CACHE_HOME", folder.path().join("file"))
        .env("HOME", folder.path().join("file"))
        .env("TMPDIR", temporary.path());
    let drawn = run(&mut without_cache, tempfile::tempdir().unwrap(), &small);
    assert!(drawn.bytes("output.png") == expected);
    if cfg!(unix) {
        assert!(drawn.stderr.contains("warning: cannot keep the embedded model in"), "{}", drawn.stderr);
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let [first, second] = [(); 2].map(|()| draw(&["--seed", "5", PROMPT]).bytes("output.png"));
    assert!(first == second);
    assert!(first != draw(&["--seed", "6", PROMPT]).bytes("output.png"));
}

#[test]
fn several_images_are_those_of_their_seeds() {
    let several = draw(&["--seed", "5", "--count", "2", "--save-latents", "kept.safetensors", "--output", "some.png", PROMPT]);
    assert_eq!(several.files(), ["kept-1.safetensors", "kept-2.safetensors", "some-1.png", "some-2.png"]);
    let alone = draw(&["--seed", "6", "--save-latents", "kept.safetensors", PROMPT]);
    assert!(several.bytes("some-2.png") == alone.bytes("output.png"));
    assert!(several.bytes("kept-2.safetensors") == alone.bytes("kept.safetensors"));
}

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

#[test]
fn quiet_prints_nothing() {
    let run = draw(&["--quiet", PROMPT]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

#[test]
fn quiet_still_warns_of_a_prompt_that_is_cut() {
    let long = "a red circle left of a blue square ".repeat(20);
    let run = draw(&["--quiet", &long]);
    assert!(run.stderr.contains("the prompt is longer than CLIP-L takes"), "{}", run.stderr);
}

#[test]
fn an_existing_image_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("output.png"), "an older image").unwrap();
    let run = draw_in(folder, &[PROMPT]);
    assert_eq!(run.files(), ["output.png"]);
    parameters_and_size(&run.path("output.png"));
}

#[test]
fn tiles_and_a_tiny_autoencoder_draw_too() {
    draw(&["--tile-vae", PROMPT]);
    let run = draw(&["--vae", &asset("taesd3/taesd3_decoder.safetensors"), PROMPT]);
    assert_eq!(parameters_and_size(&run.path("output.png")).1, 64);
}

/// A safetensors file with one tensor of f32.
fn write_tensor(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    fs::write(path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
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
    assert_refused(&arguments, &["not finite", "step 1 of 2"]);
    assert_refused(&[&["--count", "2"], &arguments[..]].concat(), &["--latents", "--count"]);
}

#[test]
fn settings_out_of_range_are_refused() {
    let cases: [(&[&str], &[&str]); 16] = [
        (&["--width", "100"], &["100 x 128", "multiples of 16"]),
        (&["--height", "0"], &["128 x 0", "multiples of 16"]),
        (&["--width", "65536"], &["65536 x 128", "position table"]),
        (&["--width=-16"], &["-16", "--width"]),
        (&["--width", "18446744073709551600"], &["position table"]),
        (&["--steps", "0"], &["at least one step"]),
        (&["--count", "0"], &["--count is 0"]),
        (&["--guidance-scale", "nan"], &["guidance scale is NaN"]),
        (&["--max-sequence-length", "0"], &["maximum sequence length is 0"]),
        (&["--skip-layers", "99"], &["layer to skip is 99"]),
        (&["--slg-scale", "2"], &["--skip-layers"]),
        (&["--save-all-latents"], &["--save-latents"]),
        (&["--seed", "many"], &["many"]),
        (&["--precision", "f8"], &["f8", "bf16"]),
        (&["--device", "abacus"], &["abacus", "cpu, cuda[:N]"]),
        (&["--device", "cuda:first"], &["first", "cuda:0"]),
    ];
    for (arguments, words) in cases {
        assert_refused(&[arguments, &[PROMPT]].concat(), words);
    }
    assert_refused(&[], &["<PROMPT>"]);
    assert_refused(&["--no-such-option", PROMPT], &["--no-such-option"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_the_program_was_built_without_names_the_feature() {
    assert_refused(&["--device", "cuda:1", PROMPT], &["built without cuda:1", "--features cuda"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().to_str().unwrap();
    let nowhere = folder.path().join("nowhere/image.png");
    let nowhere = nowhere.to_str().unwrap();
    assert_refused(&["--output", taken, PROMPT], &[taken, "cannot write"]);
    assert_refused(&["--output", nowhere, PROMPT], &[nowhere, "cannot write", "a folder that exists"]);
    assert_refused(&["--save-latents", nowhere, PROMPT], &[nowhere, "cannot write"]);
    assert_refused(&["--output", "", PROMPT], &["--output"]);
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
    write_tensor(&noise, "noise", &[1, 16, 8, 8], &[f32::NAN; 1024]);
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
