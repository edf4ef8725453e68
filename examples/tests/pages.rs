//! Every page draws with a model of either family.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const GENERATE: &str = env!("CARGO_BIN_EXE_generate");
const STAGES: &str = env!("CARGO_BIN_EXE_stages");
const TRAIN: &str = env!("CARGO_BIN_EXE_train");
const PROMPT: &str = "a small yellow heart at the top on a purple background";
const SIDE: u32 = 64;
const LINES_OF_A_PAGE: usize = 60;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Run a page in a folder of its own, with `input` typed while it runs.
fn run(page: &str, folder: &TempDir, input: &str, arguments: &[&Path]) -> Output {
    let mut program = Command::new(page);
    program.arg(PROMPT).args(arguments).args(["--side", &SIDE.to_string()]);
    program.current_dir(folder).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    let mut page = program.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    page.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    page.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The two images that a page draws.
#[track_caller]
fn draw(page: &str, arguments: &[&Path]) -> [image::RgbImage; 2] {
    let folder = tempfile::tempdir().unwrap();
    let output = run(page, &folder, "", arguments);
    assert!(output.status.success(), "{}", said(&output));
    let images = [1, 2].map(|seed| image::open(folder.path().join(format!("output-{seed}.png"))).unwrap().into_rgb8());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), images.len());
    for image in &images {
        assert_eq!(image.dimensions(), (SIDE, SIDE));
    }
    assert!(images[0] != images[1], "two seeds gave one image");
    images
}

#[test]
fn pages_draw_with_the_embedded_model() {
    for page in [GENERATE, STAGES] {
        draw(page, &[]);
    }
}

#[test]
fn pages_draw_with_flux() {
    for page in [GENERATE, STAGES] {
        draw(page, &[&repository("fixtures/flux-dev")]);
    }
}

#[test]
fn a_lora_changes_what_is_drawn() {
    let (model, lora) = (repository("fixtures/flux-dev"), repository("fixtures/flux-dev/lora/kohya.safetensors"));
    assert!(draw(GENERATE, &[&model, &lora]) != draw(GENERATE, &[&model]));
}

#[test]
fn what_is_learnt_is_drawn_in_the_same_process() {
    let [before, after] = draw(TRAIN, &[]);
    let mean = |image: &image::RgbImage, channel: usize| {
        image.pixels().map(|pixel| f64::from(pixel.0[channel])).sum::<f64>() / f64::from(SIDE * SIDE)
    };
    // Red and orange on the way to the picture's own: 255, 75 and 0.
    assert!(mean(&before, 0) < 160.0 && mean(&after, 0) > 220.0, "{}, {}", mean(&before, 0), mean(&after, 0));
    assert!(mean(&before, 2) > 150.0 && mean(&after, 2) < 60.0, "{}, {}", mean(&before, 2), mean(&after, 2));
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::from_pixel(80, 80, image::Rgb([0, 90, 0])).save(folder.path().join("green.png")).unwrap();
    let [_, green] = draw(TRAIN, &[folder.path()]);
    assert!(mean(&green, 0) < 80.0 && mean(&green, 2) < 80.0, "{}, {}", mean(&green, 0), mean(&green, 2));
}

#[test]
fn enter_cancels() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(GENERATE, &folder, "\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("error: cancelled"), "{}", said(&output));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_page_has_few_lines() {
    for page in fs::read_dir(repository("examples/src/bin")).unwrap() {
        let path = page.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_OF_A_PAGE, "{} has {lines} lines", path.display());
    }
}
