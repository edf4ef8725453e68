//! The program as a user meets it: images, and words about what is wrong.

mod latents;
mod outputs;
mod refusals;
mod sampling;
mod terminal;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

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
