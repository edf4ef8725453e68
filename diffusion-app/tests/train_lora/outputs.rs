//! What a run leaves, and what is left when something stops it.

use std::fs;

use super::{Folder, SMALL, tensors};

#[test]
fn a_plan_is_printed_and_nothing_done() {
    let folder = Folder::with_pictures();
    let output = folder.train_lora(&[SMALL, &["--plan", "--cache-dir", "cache"][..]].concat()).output().unwrap();
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && plan.contains("GB"), "{plan}");
    assert!(folder.files().is_empty() && !folder.path("cache").exists(), "{:?}", folder.files());
    // More pictures at once take more.
    let larger = folder.train_lora(&[SMALL, &["--plan", "--batch-size", "64"][..]].concat()).output().unwrap();
    assert!(larger.status.success() && String::from_utf8(larger.stdout).unwrap() != plan);
}

#[test]
fn as_many_files_are_kept_as_asked() {
    let folder = Folder::with_pictures();
    let arguments = ["--steps", "7", "--save-every", "2", "--keep", "2", "--log", "log.jsonl", "--chart", "chart.svg"];
    folder.train(&[SMALL, &arguments[..]].concat());
    let expected = [
        "chart.svg",
        "log.jsonl",
        "lora-000004.safetensors",
        "lora-000006.safetensors",
        "lora.safetensors",
        "lora.state.safetensors",
    ];
    assert_eq!(folder.files(), expected);
    let log = folder.log("log.jsonl");
    assert_eq!(log.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    for line in &log {
        assert_eq!(line.as_object().unwrap().len(), 5, "{line}");
        for key in ["loss", "grad_norm", "learning_rate", "seconds"] {
            assert!(line[key].as_f64().unwrap() > 0.0, "{line}");
        }
    }
    let chart = String::from_utf8(folder.bytes("chart.svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"), "{chart}");
    // The loss of every step, and its running mean.
    let points = |line: &str| {
        line.split("points=\"").nth(1).map_or(0, |points| points.split('"').next().unwrap().split_whitespace().count())
    };
    assert!(chart.lines().filter(|line| line.contains("<polyline") && points(line) == 7).count() >= 2, "{chart}");
}

#[test]
fn both_spellings_hold_the_same_numbers_and_draw() {
    let folder = Folder::with_pictures();
    let arguments = [SMALL, &["--steps", "3", "--trigger", "sks"][..]].concat();
    folder.train(&arguments);
    folder.train(&[&arguments[..], &["--format", "kohya", "--output", "kohya.safetensors"]].concat());
    folder.train(&[&arguments[..], &["--format", "kohya", "--output", "rounded.safetensors", "--dtype", "bf16"]].concat());
    let kohya = tensors(&folder.path("kohya.safetensors"));
    assert!(kohya.keys().all(|name| name.starts_with("lora_unet_")), "{:?}", kohya.keys());
    // Its queries, keys and values are one matrix, and every module has an alpha.
    assert_eq!((kohya.len() / 3 + 1) * 2, tensors(&folder.path("lora.safetensors")).len() / 2 + 1);
    let bytes = folder.bytes("kohya.safetensors");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let entries = header.metadata().clone().unwrap();
    let expected = [
        // Three of rank 2 beside each other.
        ("ss_network_dim", "6"),
        ("ss_network_alpha", "6"),
        ("ss_steps", "3"),
        ("ss_seed", "1"),
        ("modelspec.trigger_phrase", "sks"),
        ("modelspec.title", "kohya"),
    ];
    for (name, value) in expected {
        assert!(
            entries.get(name).is_some_and(|found| found.parse() == value.parse::<f64>() || found == value),
            "{name}: {entries:?}"
        );
    }

    let drawn = |lora: &str| {
        let options = [
            "--quiet",
            "--precision",
            "f32",
            "--lora-mode",
            "attach",
            "--seed",
            "5",
            "--width",
            "64",
            "--height",
            "64",
            "--steps",
            "2",
            "--lora",
            lora,
            "a picture",
        ];
        let output = folder.program(env!("CARGO_BIN_EXE_txt2img"), &options).output().unwrap();
        assert!(output.status.success(), "{}", super::said(&output));
        image::open(folder.path("output.png")).unwrap().into_rgb8()
    };
    let [diffusers, plain, fused, rounded] =
        ["lora.safetensors", "lora.safetensors:0", "kohya.safetensors", "rounded.safetensors"].map(drawn);
    let distance = |a: &image::RgbImage, b: &image::RgbImage| -> u64 {
        a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    let change = distance(&diffusers, &plain);
    assert!(change > 0);
    for other in [&fused, &rounded] {
        assert!(50 * distance(&diffusers, other) < change, "{} of {change}", distance(&diffusers, other));
    }
}

#[test]
fn numbers_that_are_not_finite_stop_a_run_at_its_last_good_state() {
    let folder = Folder::with_pictures();
    // Such a decay makes parameters a million times as large in every step.
    let options = ["--steps", "30", "--save-every", "1", "--keep", "30", "--weight-decay", "1000", "--learning-rate=1000"];
    let arguments = [&SMALL[..6], &["--quiet"], &options].concat();
    let said =
        folder.refuses(&arguments, &["is not finite; its pictures: pictures/", ".png", "begin again (--restart) with a lower"]);
    assert!(said.contains("lora.state.safetensors holds the run as it was when it was last saved"), "{said}");
    let step: usize = said.split("step ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(step > 1 && folder.path(&format!("lora-{:06}.safetensors", step - 1)).exists(), "{said}");
    assert!(!folder.path("lora.safetensors").exists());
    // It stops there again.
    let state = folder.bytes("lora.state.safetensors");
    folder.refuses(&arguments, &[&format!("step {step}: ")]);
    assert!(folder.bytes("lora.state.safetensors") == state);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_takes_no_lora_with_it() {
    let folder = Folder::with_pictures();
    folder.refuses(&[SMALL, &["--steps", "2", "--chart", "/dev/full"][..]].concat(), &["cannot write /dev/full; make room"]);
    assert_eq!(folder.files(), ["lora.safetensors", "lora.state.safetensors"]);
    let log = ["--steps", "2", "--log", "/dev/full", "--output", "other.safetensors"];
    folder.refuses(&[SMALL, &log[..]].concat(), &["/dev/full", "No space left"]);
}

/// A limit on the size of files stands for a disk that fills.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_leaves_what_was_there() {
    use std::os::unix::process::CommandExt;
    let (folder, whole) = (Folder::with_pictures(), Folder::with_pictures());
    let steps = |steps: &'static str| [SMALL, &["--save-every", "2", "--steps", steps][..]].concat();
    whole.train(&steps("4"));
    folder.train(&steps("2"));
    let before: Vec<_> = folder.files().into_iter().map(|name| (folder.bytes(&name), name)).collect();
    let mut command = folder.train_lora(&steps("4"));
    let limit_files = || {
        let limit = libc::rlimit { rlim_cur: 100_000, rlim_max: 100_000 };
        // SAFETY: both may be called between fork and exec, and `limit` lives longer than the call.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: what runs between fork and exec calls nothing but `signal` and `setrlimit`.
    unsafe { command.pre_exec(limit_files) };
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", super::said(&output));
    assert!(super::said(&output).contains("error: cannot write lora-000004.safetensors"), "{}", super::said(&output));
    for (bytes, name) in &before {
        assert!(folder.bytes(name) == *bytes, "{name}");
    }
    assert_eq!(folder.files().len(), before.len(), "{:?}", folder.files());
    folder.train(&steps("4"));
    assert_eq!(folder.files(), whole.files());
    assert!(folder.bytes("lora.safetensors") == whole.bytes("lora.safetensors"));
    let parts = fs::read_dir(folder.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "part"));
    assert_eq!(parts.count(), 0);
}
