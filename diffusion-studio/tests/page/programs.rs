//! The programs of a test, which end with it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A program that listens on a port of its own choice, and is killed at the end.
struct Program {
    process: Child,
    /// Kept open, or else the program's next line would fail.
    _output: BufReader<ChildStdout>,
}

impl Program {
    /// Start a program, and wait for the line that holds `mark`; what follows it is returned.
    fn start(command: &mut Command, mark: &str) -> (Self, String) {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process =
            command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        loop {
            let before = said.len();
            assert!(output.read_line(&mut said).unwrap() > 0, "{name} ended without {mark:?}: {said}");
            if let Some((_, rest)) = said[before..].split_once(mark) {
                return (Self { process, _output: output }, rest.trim().to_owned());
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server with the miniature model.
pub(crate) struct Studio {
    _program: Program,
    _data: TempDir,
    /// Its address, with a slash at the end.
    pub(crate) address: String,
}

impl Studio {
    /// Start it with the LoRAs of a folder.
    pub(crate) fn start(loras: &Path) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_studio"));
        command.args(["--port", "0", "--data"]).arg(data.path()).arg("--lora-dir").arg(loras);
        let (program, address) = Program::start(&mut command, "studio: ");
        Self { _program: program, _data: data, address }
    }
}

/// The program that drives the browser.
pub(crate) struct Chromedriver {
    _program: Program,
    pub(crate) address: String,
}

impl Chromedriver {
    pub(crate) fn start() -> Self {
        let (program, rest) = Program::start(Command::new("chromedriver").arg("--port=0"), "successfully on port ");
        Self { _program: program, address: format!("http://127.0.0.1:{}", rest.trim_end_matches('.')) }
    }
}
