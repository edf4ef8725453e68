//! The README shows the image that its command makes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Images of other processors differ by roundings that shift a level here and there.
const LEAST_PSNR: f64 = 50.0;

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn pixels(path: &Path) -> image::RgbImage {
    image::open(path).unwrap().into_rgb8()
}

#[test]
fn the_readme_shows_the_image_that_its_command_makes() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let command = readme.lines().find(|line| line.starts_with("cargo run ")).unwrap();
    let (cargo, prompt) = command.split_once(" -- ").unwrap();
    assert_eq!(cargo, "cargo run --release -p diffusion-app --bin txt2img");
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    let program = program.arg(prompt.trim_matches('"')).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    let drawn = program.current_dir(&folder).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));

    let (found, expected) = (pixels(&folder.path().join("output.png")), pixels(&repository("docs/red-house.png")));
    assert_eq!(found.dimensions(), expected.dimensions());
    let squares = found.iter().zip(expected.iter()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    let mean_square = squares.sum::<f64>() / found.len() as f64;
    let psnr = 10.0 * (255.0 * 255.0 / mean_square).log10();
    assert!(psnr > LEAST_PSNR, "{psnr:.1} dB");
}
