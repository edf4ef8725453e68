//! Sample pictures are those of the program that draws.

use std::fs;

use image::RgbImage;

use super::{Folder, SMALL, said};

const PROMPTS: [&str; 4] = ["--sample-prompt", "a small yellow heart", "--sample-prompt", "a gray ring"];

/// What `txt2img` draws for the prompts, with these options besides.
fn drawn(folder: &Folder, options: &[&str]) -> Vec<RgbImage> {
    let draw = |(prompt, seed): (&str, &str)| {
        let common =
            ["--quiet", "--precision", "f32", "--width", "64", "--height", "64", "--steps", "2", "--output", "drawn.png"];
        let output =
            folder.program(env!("CARGO_BIN_EXE_txt2img"), &[&common[..], &["--seed", seed, prompt], options].concat()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        image::open(folder.path("drawn.png")).unwrap().into_rgb8()
    };
    [(PROMPTS[1], "7"), (PROMPTS[3], "8")].map(draw).into()
}

fn samples(folder: &Folder, output: &str, step: usize) -> Vec<RgbImage> {
    let picture = |number| folder.path(&format!("{output}-samples/{step:06}-{number}.png"));
    [1, 2].map(|number| image::open(picture(number)).unwrap().into_rgb8()).into()
}

#[test]
fn sample_pictures_are_those_of_txt2img_to_the_bit() {
    let folder = Folder::with_pictures();
    let options = ["--steps", "5", "--sample-every", "3", "--sample-steps", "2", "--sample-seed", "7"];
    let arguments = [SMALL, &PROMPTS[..], &options].concat();
    folder.train(&arguments);
    let mut names: Vec<_> = fs::read_dir(folder.path("lora-samples")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected = ["000000-1.png", "000000-2.png", "000003-1.png", "000003-2.png", "000005-1.png", "000005-2.png"];
    assert_eq!(names, expected);
    let (plain, trained) = (drawn(&folder, &[]), drawn(&folder, &["--lora", "lora.safetensors", "--lora-mode", "attach"]));
    assert!(plain[0] != trained[0] && plain[1] != trained[1], "nothing was learnt");
    assert!(samples(&folder, "lora", 0) == plain);
    assert!(samples(&folder, "lora", 5) == trained);

    // What a run was stopped before is drawn when it goes on.
    fs::remove_file(folder.path("lora-samples/000005-2.png")).unwrap();
    folder.train(&arguments);
    assert!(samples(&folder, "lora", 5) == trained);

    // An assistant is on while training, and not in pictures.
    let with_assistant = ["--assistant-lora", "lora.safetensors", "--output", "over.safetensors", "--log", "log.jsonl"];
    let without = ["--output", "under.safetensors", "--log", "under.jsonl"];
    folder.train(&[&arguments[..], &with_assistant].concat());
    folder.train(&[SMALL, &["--steps", "5"][..], &without].concat());
    assert!(samples(&folder, "over", 0) == plain);
    assert!(samples(&folder, "over", 5) == drawn(&folder, &["--lora", "over.safetensors", "--lora-mode", "attach"]));
    assert!(folder.log("log.jsonl")[0]["loss"] != folder.log("under.jsonl")[0]["loss"]);
}

fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    let squares: f64 = a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares).log10()
}

#[test]
fn sample_pictures_of_all_that_can_be_trained_are_those_of_txt2img() {
    let folder = Folder::with_pictures();
    // Lengths of rows and factors of a DoRA from a file are multiplied in another order.
    for (what, least) in
        [(&["--method", "lokr"][..], f64::INFINITY), (&["--method", "dora"], 70.0), (&["--train-text-encoders"], f64::INFINITY)]
    {
        let options = ["--steps", "4", "--sample-steps", "2", "--sample-seed", "7", "--restart"];
        folder.train(&[SMALL, &PROMPTS[..], &options, what].concat());
        let drawn = drawn(&folder, &["--lora", "lora.safetensors", "--lora-mode", "attach"]);
        for (found, drawn) in samples(&folder, "lora", 4).iter().zip(&drawn) {
            assert!(psnr(found, drawn) >= least, "{what:?}: {} dB", psnr(found, drawn));
        }
    }
}
