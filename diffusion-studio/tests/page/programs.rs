//! The programs of a test, which end with it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A program that listens on a port of its own choice, and is killed at the end.
struct Program {
    process: Child,
    /// Open as long as the program runs, or else its next line would fail.
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// Wait for the line that holds `mark`; what follows it is returned.
    fn after(&mut self, mark: &str) -> String {
        let mut said = String::new();
        loop {
            let before = said.len();
            assert!(self.output.read_line(&mut said).unwrap() > 0, "the program ended without {mark:?}: {said}");
            if let Some((_, rest)) = said[before..].split_once(mark) {
                return rest.trim().to_owned();
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
        let mut program = Program::start(&mut command);
        let address = program.after("studio: ");
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
        let mut program = Program::start(Command::new("chromedriver").arg("--port=0"));
        let port = program.after("successfully on port ");
        Self { _program: program, address: format!("http://127.0.0.1:{}", port.trim_end_matches('.')) }
    }
}
