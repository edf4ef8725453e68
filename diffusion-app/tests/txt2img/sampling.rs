//! Options of sampling: init images, masks, guidance, schedules, batches, previews and step caches.

use std::fs;
use std::path::Path;

use super::{PROMPT, Run, assert_refused, asset, draw, draw_in, fixture, parameters_and_size, run_in};

#[test]
fn prompts_and_seeds_are_counted_through_in_batches_or_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("prompts.txt"), "\na large green star on a white background\n\n").unwrap();
    let sampler = ["--sampler", "euler_ancestral", "--seed", "5"];
    let several = [&sampler[..], &["--count", "2", "--batch-size", "3", "--prompts-file", "prompts.txt", PROMPT]].concat();
    let several = draw_in(folder, &several);
    let outputs = ["output-1.png", "output-2.png", "output-3.png", "output-4.png", "prompts.txt"];
    assert_eq!(several.files(), outputs);
    let pixels = |run: &Run, name: &str| image::open(run.path(name)).unwrap().into_rgb8();
    for (output, seed, prompt) in [(outputs[1], "6", PROMPT), (outputs[2], "7", "a large green star on a white background")] {
        let alone = draw(&["--sampler", "euler_ancestral", "--seed", seed, prompt]);
        let (found, expected) = (pixels(&several, output), pixels(&alone, "output.png"));
        // Products of more rows may be added up in another order, which may move a level by one.
        assert!(found.iter().zip(expected.iter()).all(|(a, b)| a.abs_diff(*b) <= 1), "{output}");
        let text = parameters_and_size(&several.path(output)).0;
        assert!(text.starts_with(prompt) && text.contains(&format!("Seed: {seed}")), "{text}");
    }
    assert_refused(&["--prompts-file", "nowhere.txt"], &["cannot open nowhere.txt"]);
    assert_refused(&["--latents", "noise.safetensors", PROMPT, PROMPT], &["--latents", "several prompts"]);
}

#[test]
fn what_is_placed_on_the_device_of_the_rest_draws_the_same_image_and_has_the_same_plan() {
    let expected = draw(&[PROMPT]).bytes("output.png");
    let plan = draw(&["--plan", PROMPT]).stdout;
    assert!(plan.contains("transformer") && !plan.contains("on cpu"), "{plan}");
    for place in ["text_encoders=cpu,transformer=cpu,vae=cpu", "t5xxl=cpu", "clip-l=cpu,vae=cpu", "transformer=cpu"] {
        assert!(draw(&["--place", place, PROMPT]).bytes("output.png") == expected, "{place}");
        assert_eq!(draw(&["--place", place, "--plan", PROMPT]).stdout, plan, "{place}");
    }
}

/// What editors put before and between the lines of a text is no part of a prompt.
#[test]
fn prompts_are_read_from_every_encoding_that_editors_write() {
    let expected = draw(&[PROMPT]).bytes("output.png");
    let utf_16: Vec<u8> = format!("\u{feff}{PROMPT}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for text in [format!("\u{feff}{PROMPT}\r\n\r\n").into_bytes(), utf_16] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("prompts.txt"), text).unwrap();
        assert!(draw_in(folder, &["--prompts-file", "prompts.txt"]).bytes("output.png") == expected);
    }
    let folder = tempfile::tempdir().unwrap();
    let latin_1 = folder.path().join("latin-1.txt");
    fs::write(&latin_1, b"a house\nun caf\xe9\n").unwrap();
    assert_refused(&["--prompts-file", latin_1.to_str().unwrap()], &["latin-1.txt, line 2: this is not UTF-8"]);
    assert_refused(&["--prompts-file", folder.path().to_str().unwrap()], &["is a folder, not a file"]);
}

/// A photograph's worth of colours in any format that the extension names.
fn write_image(path: &Path, width: u32, height: u32) {
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(3 * x) as u8, (2 * y) as u8, (x + y) as u8])).save(path).unwrap();
}

#[test]
fn images_of_any_format_and_size_can_be_started_from() {
    let start_from = |name: &str, width, height| {
        let folder = tempfile::tempdir().unwrap();
        write_image(&folder.path().join(name), width, height);
        draw_in(folder, &["--image", name, "--strength", "0.5", PROMPT])
    };
    let png = start_from("source.png", 64, 64);
    assert!(png.bytes("output.png") == start_from("source.bmp", 64, 64).bytes("output.png"));
    assert!(png.bytes("output.png") != draw(&[PROMPT]).bytes("output.png"));
    assert!(!png.stderr.contains("stretched"), "{}", png.stderr);
    let jpeg = start_from("source.jpg", 100, 50);
    assert!(jpeg.stderr.contains("source.jpg has 100 x 50 pixels and is stretched to 64 x 64"), "{}", jpeg.stderr);
    assert_refused(&["--image", "nowhere.png", PROMPT], &["cannot open nowhere.png"]);
    assert_refused(&["--image", "output.png", PROMPT], &["output.png is no image"]);
    assert_refused(&["--strength", "0.5", PROMPT], &["--image"]);
}

#[test]
fn masks_say_which_part_is_regenerated() {
    let under = |mask: Option<fn(u32) -> u8>| {
        let folder = tempfile::tempdir().unwrap();
        write_image(&folder.path().join("source.png"), 64, 64);
        let mut arguments = vec!["--image", "source.png", PROMPT];
        if let Some(level) = mask {
            image::GrayImage::from_fn(64, 64, |x, _| image::Luma([level(x)])).save(folder.path().join("mask.png")).unwrap();
            arguments.extend(["--mask", "mask.png", "--mask-feather", "4"]);
        }
        let run = draw_in(folder, &arguments);
        let pixels = |name: &str| image::open(run.path(name)).unwrap().into_rgb8();
        (pixels("output.png"), pixels("source.png"), run.stderr)
    };
    assert!(under(Some(|_| 255)).0 == under(None).0);
    let (drawn, source, said) = under(Some(|_| 0));
    assert!(drawn == source && said.contains("mask.png is black everywhere"), "{said}");
    let (drawn, source, _) = under(Some(|x| if x < 32 { 0 } else { 255 }));
    let half = |from: &image::RgbImage, x| image::imageops::crop_imm(from, x, 0, 32, 64).to_image();
    assert!(half(&drawn, 0) == half(&source, 0) && half(&drawn, 32) != half(&source, 32));
    assert_refused(&["--mask", "mask.png", PROMPT], &["--image"]);
}

#[test]
fn previews_are_written_at_every_kth_step() {
    let tiny = asset("taesd3/taesd3_decoder.safetensors");
    let run = |more: &[&str]| {
        let arguments = ["--preview-file", "look.png", "--preview=2", PROMPT];
        run_in(
            tempfile::tempdir().unwrap(),
            &[&["--width", "64", "--height", "64", "--steps", "5"], more, &arguments[..]].concat(),
        )
    };
    let (linear, tiny) = (run(&[]), run(&["--preview-vae", &tiny]));
    for run in [&linear, &tiny] {
        assert_eq!(run.files(), ["look-step-2.png", "look-step-4.png", "output.png"], "{}", run.stderr);
        let (text, width, height) = parameters_and_size(&run.path("look-step-2.png"));
        assert_eq!((text.as_str(), width, height), ("preview after step 2", 64, 64));
    }
    assert!(linear.bytes("look-step-4.png") != tiny.bytes("look-step-4.png"));
    assert!(linear.bytes("output.png") == tiny.bytes("output.png"));
    let blind = draw(&["--preview", PROMPT]);
    assert!(blind.stdout.is_empty() && blind.stderr.contains("standard output is no terminal"), "{}", blind.stderr);
}

#[test]
fn step_caches_leave_out_work_if_they_may() {
    let steps = ["--width", "64", "--height", "64", "--steps", "12", PROMPT];
    let run = |options: &[&str]| run_in(tempfile::tempdir().unwrap(), &[options, &steps].concat());
    let exact = run(&[]);
    assert!(!exact.stderr.contains("step cache"), "{}", exact.stderr);
    for name in ["first-block", "easy"] {
        let strict = run(&["--step-cache", name, "--step-cache-threshold", "0"]);
        assert!(strict.stderr.contains("step cache: 0 of 12 evaluations reused"), "{}", strict.stderr);
        assert!(strict.bytes("output.png") == exact.bytes("output.png"), "{name}");
        let loose = run(&["--step-cache", name, "--step-cache-threshold", "0.5"]);
        assert!(!loose.stderr.contains("step cache: 0 of 12"), "{}", loose.stderr);
        assert!(loose.bytes("output.png") != exact.bytes("output.png"), "{name}");
    }
    assert_refused(&["--step-cache-threshold", "0.1", PROMPT], &["--step-cache"]);
}

#[test]
fn unsuitable_samplers_and_schedules_are_named() {
    let vp = ["the schedule \"leading\" is for variance-preserving models, not for flow ones"];
    assert_refused(&["--schedule", "leading", PROMPT], &vp);
    assert_refused(&["--schedule", "kerras", PROMPT], &["no schedule \"kerras\"", "karras, exponential"]);
    assert_refused(&["--sampler", "euler_b", PROMPT], &["no sampler \"euler_b\"", "euler_ancestral"]);
    assert_refused(&["--shift", "far", PROMPT], &["shift is far", "dynamic"]);
    assert_refused(&["--shift=-1", PROMPT], &["shift is -1"]);
    assert_refused(&["--shift-terminal", "1", PROMPT], &["shift_terminal is 1"]);
    assert_refused(&["--sigmas", "1,0.5,0", "--shift-terminal", "0.5", PROMPT], &["--shift-terminal"]);
    let warned = draw(&["--schedule", "karras", "--sampler", "lcm", PROMPT]);
    for words in ["\"karras\" spends most steps at low noise", "\"lcm\" is for models that were distilled"] {
        assert_eq!(warned.stderr.matches(words).count(), 1, "{}", warned.stderr);
    }
    assert!(!draw(&["--schedule", "beta", PROMPT]).stderr.contains("warning"));
}

#[test]
fn shifts_reach_the_schedule() {
    let pixels = |options: &[&str]| image::open(draw(&[options, &[PROMPT]].concat()).path("output.png")).unwrap().into_rgb8();
    let plain = pixels(&[]);
    assert!(plain == pixels(&["--shift", "1"]));
    assert!(plain != pixels(&["--shift", "dynamic"]) && plain != pixels(&["--shift-terminal", "0.2"]));
}

#[test]
fn guidance_options_reach_the_model() {
    let plain = draw(&[PROMPT]);
    let differs = |options: &[&str]| draw(&[options, &[PROMPT]].concat()).bytes("output.png") != plain.bytes("output.png");
    assert!(differs(&["--guidance-rescale", "0.7"]) && differs(&["--guidance-interval", "0.1,0.95"]));
    assert!(differs(&["--guidance", "zero-star"]) && differs(&["--guidance", "apg", "--apg-momentum", "-0.5"]));
    assert!(!differs(&["--guidance-interval", "0,1"]));
    let unguided = draw(&["--guidance-scale", "1", "--guidance", "apg", "--sequential-guidance", PROMPT]);
    for option in ["--guidance", "--sequential-guidance"] {
        assert!(unguided.stderr.contains(&format!("{option} has no effect without")), "{}", unguided.stderr);
    }
    assert_refused(&["--guidance-interval", "0.9,0.2", PROMPT], &["guidance interval is 0.9,0.2"]);
    assert_refused(&["--guidance-interval", "high", PROMPT], &["two noise levels"]);
    assert_refused(&["--guidance", "none", PROMPT], &["zero-star"]);
}

#[test]
fn the_guidance_scale_is_what_the_authors_of_the_model_call_so() {
    let dev = fixture("flux-dev");
    let run = draw(&["--model", &dev, "--guidance-scale", "2.5", "--negative-prompt", "fog", PROMPT]);
    let said = parameters_and_size(&run.path("output.png")).0;
    assert!(said.contains("CFG scale: 1, Distilled CFG Scale: 2.5, Seed"), "{said}");
    let without = "--negative-prompt has no effect without classifier-free guidance (--true-cfg-scale above 1)";
    assert!(run.stderr.contains(without), "{}", run.stderr);
    let run = draw(&["--model", &dev, "--true-cfg-scale", "2", "--negative-prompt", "fog", PROMPT]);
    let said = parameters_and_size(&run.path("output.png")).0;
    assert!(said.contains("CFG scale: 2, Distilled CFG Scale: 3.5, Seed"), "{said}");
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);

    let schnell = fixture("flux-schnell");
    let run = |options: &[&str]| draw(&[&["--model", &schnell], options, &[PROMPT]].concat());
    let (plain, ignored) = (run(&[]), run(&["--guidance-scale", "7"]));
    assert!(ignored.bytes("output.png") == plain.bytes("output.png"));
    assert!(ignored.stderr.contains("warning: --guidance-scale has no effect with this model"), "{}", ignored.stderr);
    assert!(run(&["--true-cfg-scale", "2"]).bytes("output.png") != plain.bytes("output.png"));

    assert_refused(&["--true-cfg-scale", "2", PROMPT], &["--true-cfg-scale", "use --guidance-scale"]);
}

#[test]
fn every_encoder_that_does_not_see_a_prompt_to_its_end_is_named_once() {
    let long = "a red circle left of a blue square ".repeat(40);
    let run = draw(&[&long, &long]);
    for encoder in ["CLIP-L", "CLIP-G", "T5"] {
        let warning = format!("warning: the prompt is longer than {encoder} takes");
        assert_eq!(run.stderr.matches(&warning).count(), 1, "{}", run.stderr);
    }
}
