//! Runs that are stopped go on as if they had not been.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Folder, SMALL, fixture};

/// A run that draws everything by chance that can be drawn.
const EVERYTHING: &[&str] = &[
    "--batch-size",
    "2",
    "--accumulate",
    "2",
    "--flip",
    "--caption-dropout",
    "0.3",
    "--ema",
    "0.9",
    "--train-text-encoders",
    "--save-every",
    "3",
    "--log",
    "log.jsonl",
    "--chart",
    "chart.svg",
    "--output",
    "out.safetensors",
];

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_mins(2);

/// Kill a run once it has taken so many steps, and a moment later.
fn kill_after(folder: &Folder, arguments: &[&str], steps: usize, moment: Duration) {
    let mut child = folder.train_lora(arguments).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while fs::read_to_string(folder.path("log.jsonl")).unwrap_or_default().lines().count() < steps {
        assert!(start.elapsed() < LIMIT && child.try_wait().unwrap().is_none(), "{steps} steps were not seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_file() {
    let steps = ["--steps", "20"];
    let whole = Folder::with_pictures();
    whole.train(&[SMALL, EVERYTHING, &steps].concat());
    let killed = Folder::with_pictures();
    // Encoded pictures of its own, so that it can be killed while they are made.
    let arguments = [SMALL, EVERYTHING, &steps, &["--cache-dir", "cache"]].concat();
    let random = RandomState::new();
    let mut moments = Vec::new();
    for (kill, steps) in [0, 4, 9, 14].into_iter().enumerate() {
        let drawn = random.hash_one(kill);
        let (steps, moment) = (steps + (drawn >> 32) as usize % 4 * steps.min(1), Duration::from_micros(drawn % 150_000));
        moments.push((steps, moment));
        kill_after(&killed, &arguments, steps, moment);
    }
    killed.train(&arguments);
    assert_eq!(killed.files(), whole.files(), "{moments:?}");
    for name in whole.files().iter().filter(|name| name.ends_with(".safetensors")) {
        assert!(killed.bytes(name) == whole.bytes(name), "{name}, killed at {moments:?}");
    }
    // All that is in a line but its time, as it is written.
    let lines = |folder: &Folder| -> Vec<String> {
        let text = String::from_utf8(folder.bytes("log.jsonl")).unwrap();
        text.lines().map(|line| line.split_once(",\"seconds\":").unwrap().0.to_owned()).collect()
    };
    assert_eq!(lines(&killed), lines(&whole), "{moments:?}");
    let steps: Vec<_> = killed.log("log.jsonl").iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>(), "{moments:?}");
}

#[test]
fn more_steps_go_on() {
    let (one, two) = (Folder::with_pictures(), Folder::with_pictures());
    let output = ["--output", "out.safetensors", "--log", "log.jsonl"];
    let steps = |folder: &Folder, arguments: &[&str]| folder.train(&[SMALL, &output, arguments].concat());
    // As long as the first run warms up.
    steps(&one, &["--steps", "40", "--warmup-steps", "1"]);
    steps(&two, &["--steps", "20"]);
    steps(&two, &["--steps", "40"]);
    assert!(one.bytes("out.safetensors") == two.bytes("out.safetensors"));
    assert_eq!(two.log("log.jsonl").len(), 40);
    let output = two.train_lora(&[&SMALL[..8], &output, &["--steps", "30"]].concat()).output().unwrap();
    assert!(super::said(&output).contains("has its 40 steps already; more --steps go on, --restart begins anew"));
}

#[test]
fn a_run_with_other_settings_or_pictures_is_refused_and_told_what_changed() {
    let folder = Folder::with_pictures();
    let output = ["--output", "out.safetensors"];
    folder.train(&[SMALL, &output[..], &["--steps", "1", "--save-every", "1"]].concat());
    let files = folder.files();
    let state = folder.bytes("out.state.safetensors");
    let more = [SMALL, &output[..], &["--steps", "2"]].concat();
    let refused = |arguments: &[&str], words: &[&str]| {
        let said = folder.refuses(arguments, words);
        assert!(said.contains("--restart begins anew, another --output keeps it"), "{said}");
        assert!(folder.bytes("out.state.safetensors") == state && folder.files() == files);
        said
    };
    let with = |options: &[&'static str]| [&more[..], options].concat();
    let said = refused(
        &with(&["--seed", "2", "--flip", "--method", "dora", "--targets", "all", "--lr-scheduler", "cosine"]),
        &[
            "seed: 1 before, 2 now",
            "flips: no before, yes now",
            "method: lora before, dora now",
            "targets: attention before, all now",
            "schedule: constant before, cosine of 2 now",
        ],
    );
    assert!(!said.contains("  pictures: ") && !said.contains("the model's"), "{said}");
    refused(
        &with(&["--accumulate", "2", "--ema", "0.5", "--optimizer", "lion", "--weighting", "cosmap", "--batch-size", "2"]),
        &["accumulated batches: 1 before, 2 now", "moving average", "optimiser", "loss: ", "batch size: 4 before, 2 now"],
    );
    refused(&with(&["--model", &fixture("sd3").leak()[..]]), &["the model's transformer: ", "the model's vae: "]);

    let caption = folder.bytes("pictures/a.txt");
    folder.text("pictures/a.txt", "another caption");
    let said = refused(&more, &["captions: 4 ("]);
    assert!(!said.contains("  pictures: ") && !said.contains("seed: "), "{said}");
    fs::write(folder.path("pictures/a.txt"), caption).unwrap();
    let picture = folder.bytes("pictures/a.png");
    folder.picture("a", [64, 80]);
    let said = refused(&more, &["pictures: 4 ("]);
    assert!(!said.contains("  captions: "), "{said}");
    fs::write(folder.path("pictures/a.png"), picture).unwrap();
    folder.picture("e", [64, 64]);
    folder.text("pictures/e.txt", "one more");
    refused(&more, &["pictures: 4 (", "captions: 4 (", ", 5 ("]);
    fs::remove_file(folder.path("pictures/e.png")).unwrap();
    fs::remove_file(folder.path("pictures/e.txt")).unwrap();
    folder.train(&more);
}

#[test]
fn restart_begins_anew() {
    let (fresh, again) = (Folder::with_pictures(), Folder::with_pictures());
    let arguments = [SMALL, &["--steps", "2", "--output", "out.safetensors", "--log", "log.jsonl"][..]].concat();
    fresh.train(&arguments);
    again.train(&[&SMALL[..4], &["--quiet", "--rank", "4", "--steps", "3", "--output", "out.safetensors"]].concat());
    again.refuses(&arguments, &["rank: 4 before, 2 now"]);
    again.train(&[&arguments[..], &["--restart"]].concat());
    assert!(fresh.bytes("out.safetensors") == again.bytes("out.safetensors"));
    assert_eq!(again.log("log.jsonl").len(), 2);

    // What is no state is not taken for one, and not in the way of a new beginning.
    let lora = again.bytes("out.safetensors");
    fs::write(again.path("out.state.safetensors"), &lora[..lora.len() / 2]).unwrap();
    again.refuses(&arguments, &["out.state.safetensors", "--restart begins anew"]);
    fs::write(again.path("out.state.safetensors"), &lora).unwrap();
    again.refuses(&arguments, &["out.state.safetensors is no state of a training run", "--restart begins anew"]);
    again.train(&[&arguments[..], &["--restart"]].concat());
    assert!(fresh.bytes("out.safetensors") == again.bytes("out.safetensors"));
}
