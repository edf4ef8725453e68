//! Terminals, pipes and devices that the program talks to.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PROMPT, parameters_and_size};

const SMALL: [&str; 6] = ["--width", "64", "--height", "64", "--steps", "2"];

fn program(folder: &TempDir) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_txt2img"));
    program.current_dir(folder).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    program
}

#[test]
fn nobody_has_to_listen() {
    let draw = |prepare: fn(&mut Command) -> Child| {
        let folder = tempfile::tempdir().unwrap();
        // The second model warns, too.
        let status = prepare(program(&folder).args(SMALL).args(["--schedule", "karras", PROMPT])).wait().unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(parameters_and_size(&folder.path().join("output.png")).1, 64);
    };
    draw(|program| {
        let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        child
    });
    if cfg!(target_os = "linux") {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        draw(|program| program.stderr(File::options().write(true).open("/dev/full").unwrap()).spawn().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let plan = program(&folder).args(["--plan", PROMPT]).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&plan.stderr).into_owned();
        assert!(plan.status.code() == Some(1) && said.contains("error: cannot write to standard output"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut plan = program(&folder).args(["--plan", PROMPT]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(plan.stdout.take());
    let plan = plan.wait_with_output().unwrap();
    assert!(plan.status.success() && plan.stderr.is_empty(), "{}", String::from_utf8_lossy(&plan.stderr));
}

/// `script` lends a terminal in which nobody answers.
#[cfg(target_os = "linux")]
#[test]
fn previews_are_shown_in_a_terminal_that_does_not_answer() {
    const QUESTION: &str = "\u{1b}[c";
    for (term, shows) in [("xterm-256color", true), ("dumb", false)] {
        let folder = tempfile::tempdir().unwrap();
        let command = format!("{} {} --preview '{PROMPT}'", env!("CARGO_BIN_EXE_txt2img"), SMALL.join(" "));
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &command, "/dev/null"]).env("TERM", term).env_remove("TERM_PROGRAM");
        script.current_dir(&folder).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        // Held open: at its end, `script` would type an end of file.
        let (_typed, input) = {
            let (reader, writer) = std::io::pipe().unwrap();
            (writer, reader)
        };
        let output = File::create(folder.path().join("shown")).unwrap();
        let mut child = script.stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > Duration::from_mins(2) {
                child.kill().unwrap();
                panic!("it waits for an answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(status.success(), "{status}");
        let shown = std::fs::read_to_string(folder.path().join("shown")).unwrap();
        assert_eq!((shown.contains(QUESTION), shown.contains('▄')), (shows, shows), "{term}: {shown}");
        assert_eq!(shown.contains("shows nothing, because the terminal shows text only"), !shows, "{shown}");
        assert_eq!(parameters_and_size(&folder.path().join("output.png")).1, 64);
    }
}
