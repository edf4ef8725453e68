//! Where images go.

use std::fs;

use image::{ImageDecoder, ImageFormat, ImageReader};

use super::{PROMPT, assert_refused, draw, draw_in, parameters_and_size, run_in};

#[test]
fn the_extension_names_the_format_and_the_parameters_are_in_it() {
    let expected = image::open(draw(&[PROMPT]).path("output.png")).unwrap().into_rgb8();
    for (name, format) in
        [("o.png", ImageFormat::Png), ("o.jpg", ImageFormat::Jpeg), ("o.JPEG", ImageFormat::Jpeg), ("o.webp", ImageFormat::WebP)]
    {
        let run = draw(&["--output", name, PROMPT]);
        assert_eq!(run.files(), [name]);
        let reader = ImageReader::open(run.path(name)).unwrap().with_guessed_format().unwrap();
        assert_eq!(reader.format(), Some(format));
        if format == ImageFormat::Png {
            assert!(parameters_and_size(&run.path(name)).0.starts_with(PROMPT));
            continue;
        }
        let mut decoder = reader.into_decoder().unwrap();
        let exif = decoder.exif_metadata().unwrap().unwrap();
        let start = exif.windows(8).position(|window| window == b"UNICODE\0").unwrap() + 8;
        let text: Vec<u16> = exif[start..].as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
        let text = String::from_utf16(&text).unwrap();
        assert!(text.starts_with(&format!("{PROMPT}\nSteps: 2, ")) && text.contains("Size: 64x64"), "{text}");
        let found = image::DynamicImage::from_decoder(decoder).unwrap().into_rgb8();
        let largest = found.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(largest <= Some(if format == ImageFormat::Jpeg { 40 } else { 0 }), "{name}: {largest:?}");
    }
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().to_str().unwrap();
    let nowhere = folder.path().join("nowhere/image.png");
    let nowhere = nowhere.to_str().unwrap();
    assert_refused(&["--output", taken, PROMPT], &[taken, "cannot write", "it is a folder"]);
    fs::create_dir(folder.path().join("folder.png")).unwrap();
    assert_refused(&["--output", &format!("{taken}/folder.png"), PROMPT], &["folder.png; it is a folder"]);
    assert_refused(&["--output", nowhere, PROMPT], &[nowhere, "cannot write", "a folder that exists"]);
    assert_refused(&["--save-latents", nowhere, PROMPT], &[nowhere, "cannot write"]);
    assert_refused(&["--output", "", PROMPT], &["--output"]);
    let long = format!("{}.png", "a".repeat(252));
    assert_refused(&["--output", &long, PROMPT], if cfg!(unix) { &["choose a shorter name"] } else { &["cannot write"] });
    // The last of several names is the longest.
    let (almost, ten) = (format!("{}.png", "a".repeat(249)), ["--count", "10", PROMPT]);
    assert_refused(&[&["--output", &almost], &ten[..]].concat(), &[if cfg!(unix) { "choose a shorter name" } else { "" }]);
    for name in ["o.bmp", "o.tiff", "o", "o.png.txt"] {
        assert_refused(&["--output", name, PROMPT], &[name, "end it in .png, .jpg, .jpeg or .webp"]);
        assert_refused(&["--preview-file", name, PROMPT], &[name, "end it in .png, .jpg, .jpeg or .webp"]);
    }
    assert_refused(&["--output", "a.png", "--save-latents", "a.png", PROMPT], &["give them two names"]);
    assert_refused(&["--output", "o.jpg", &"long ".repeat(8000)], &["o.jpg cannot be written: the prompt is longer"]);
    assert_refused(&["--output", "nowhere/o.png", "--model", "nowhere", PROMPT], &["nowhere/o.png"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_a_file_that_is_protected_stays() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("target.png"), "old").unwrap();
    fs::set_permissions(at("target.png"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("target.png", at("link.png")).unwrap();
    symlink("new.safetensors", at("dangling.safetensors")).unwrap();
    let run = draw_in(folder, &["--output", "link.png", "--save-latents", "dangling.safetensors", PROMPT]);
    assert_eq!(run.files(), ["dangling.safetensors", "link.png", "new.safetensors", "target.png"]);
    assert!(fs::symlink_metadata(run.path("link.png")).unwrap().is_symlink());
    assert!(fs::symlink_metadata(run.path("dangling.safetensors")).unwrap().is_symlink());
    assert_eq!(fs::metadata(run.path("target.png")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(parameters_and_size(&run.path("target.png")).1, 64);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_written_into_and_standard_output_is_one() {
    use std::os::unix::fs::FileTypeExt;
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let run = draw_in(folder, &["--output", "pipe", PROMPT]);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let expected = draw(&[PROMPT]).bytes("output.png");
    assert!(reader.join().unwrap() == expected);
    assert_eq!(run.files(), ["pipe"]);
    let refused = run_in(run.folder, &["--output", "pipe", "--count", "2", PROMPT]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("pipe is a pipe, which takes one output, and there are several"),
        "{}",
        refused.stderr
    );

    let run =
        draw(&["--count", "2", "--output", "/dev/null", "--save-latents", "/dev/null", "--preview-file", "/dev/null", PROMPT]);
    assert!(run.files().is_empty());
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());

    let small = ["--width", "64", "--height", "64", "--steps", "2", "--output", "-", PROMPT];
    let mut program = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    let program = program.args(small).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).stderr(Stdio::null());
    assert!(program.output().unwrap().stdout == expected);
}

/// Latents and previews that cannot be written do not take the image with them.
#[cfg(target_os = "linux")]
#[test]
fn a_full_device_takes_no_image_with_it() {
    let small = ["--width", "64", "--height", "64", "--steps", "2"];
    let folder = || tempfile::tempdir().unwrap();
    let run = run_in(folder(), &[&small[..], &["--save-latents", "/dev/full", PROMPT]].concat());
    assert!(run.code == Some(1) && run.stderr.contains("cannot write /dev/full; make room"), "{}", run.stderr);
    assert_eq!(parameters_and_size(&run.path("output.png")).1, 64);
    let run = draw(&["--preview-file", "/dev/full", PROMPT]);
    assert_eq!(run.stderr.matches("warning: there are no more previews: cannot write /dev/full").count(), 1, "{}", run.stderr);
    assert_eq!(run.files(), ["output.png"]);
    assert_refused(
        &["--output", "/dev/full", "--steps", "1", "--width", "64", "--height", "64", PROMPT],
        &["/dev/full", "make room"],
    );
}
