//! Programs that are stopped, and files that change or never end while they are read.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diffusion_core::checkpoint::Checkpoint;
use tempfile::TempDir;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_mins(2);

/// A checkpoint of zeros that takes no room on the disk, and some seconds to convert.
fn large_input() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let (rows, columns) = (1 << 16, 1 << 11);
    let bytes = rows * columns * 4;
    let header = format!(r#"{{"a.weight":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let start = file.seek(SeekFrom::End(0)).unwrap();
    file.set_len(start + bytes as u64).unwrap();
    (folder, path)
}

/// `convert`, which takes signals as `action` says, whatever this process was started with.
fn convert(input: &Path, output: &Path, action: libc::sighandler_t) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convert"));
    command.arg(input).arg(output).args(["--dtype", "q4_k"]).stderr(Stdio::null());
    let set_actions = move || {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: `signal` may be called between fork and exec.
            unsafe { libc::signal(signal, action) };
        }
        Ok(())
    };
    // SAFETY: what runs between fork and exec calls nothing but `signal`.
    unsafe { command.pre_exec(set_actions) };
    command
}

fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "part")).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "{what}: not in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Start it, and wait until it writes.
fn started(mut command: Command, folder: &Path) -> Child {
    let child = command.spawn().unwrap();
    wait_until("an unfinished file", || !unfinished(folder).is_empty());
    child
}

fn send(child: &Child, signal: i32) {
    // SAFETY: the process is a child that was not waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn a_stopped_conversion_leaves_nothing_and_ends_by_the_signal() {
    let (folder, input) = large_input();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let output = folder.path().join("new.gguf");
        let mut child = started(convert(&input, &output, libc::SIG_DFL), folder.path());
        send(&child, signal);
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal), "{status}");
        assert!(unfinished(folder.path()).is_empty() && !output.exists(), "signal {signal}");
    }
}

#[test]
fn a_signal_that_is_ignored_stays_ignored_and_what_a_killed_program_left_is_removed() {
    let (folder, input) = large_input();
    let output = folder.path().join("new.gguf");
    let mut child = started(convert(&input, &output, libc::SIG_DFL), folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let left = unfinished(folder.path());
    assert_eq!(left.len(), 1, "nothing can be done about SIGKILL");

    let mut child = started(convert(&input, &output, libc::SIG_IGN), folder.path());
    wait_until("the left file is removed", || !left[0].exists());
    send(&child, libc::SIGHUP);
    assert!(child.wait().unwrap().success());
    assert!(unfinished(folder.path()).is_empty() && output.exists());
}

#[test]
fn pipes_devices_and_sockets_as_inputs_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [pipe, socket] = ["pipe.safetensors", "socket.safetensors"].map(|name| folder.path().join(name));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map":{"a":"pipe.safetensors"}}"#).unwrap();
    let device = PathBuf::from("/dev/zero");
    let output = folder.path().join("new.gguf");
    for (input, kind) in [(&pipe, "a pipe"), (&index, "a pipe"), (&socket, "a socket"), (&device, "a device")] {
        let mut commands = [Command::new(env!("CARGO_BIN_EXE_inspect")), Command::new(env!("CARGO_BIN_EXE_convert"))];
        commands[0].arg(input);
        commands[1].arg(input).arg(&output).args(["--dtype", "q8_0"]);
        for mut command in commands {
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            wait_until("a refusal", || child.try_wait().unwrap().is_some());
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
            assert!(said.contains(kind), "{said}");
        }
    }
}

const CUT_FILE: &str = "TEST_CUT_FILE";

/// No test by itself: what [`a_file_that_is_cut_while_it_is_read_is_explained`] runs in a process of its own.
#[test]
fn reads_a_file_that_it_cuts() {
    let Some(path) = std::env::var_os(CUT_FILE).map(PathBuf::from) else { return };
    diffusion_app::cli::run(|| {
        let checkpoint = Checkpoint::open(&path)?;
        let bytes = checkpoint.get("a.weight").ok_or("no a.weight")?.bytes();
        File::options().write(true).open(&path)?.set_len(4096)?;
        Err(format!("{} was read after its end", bytes[bytes.len() - 1]).into())
    });
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_explained() {
    let (_folder, path) = large_input();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "reads_a_file_that_it_cuts", "--nocapture"]).env(CUT_FILE, path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}: {said}", output.status);
    assert!(said.contains("error: a file of weights could not be read on: it was cut short"), "{said}");
}
